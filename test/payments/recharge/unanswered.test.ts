import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseCredits } from '../../../src/lib/money.ts';
import { beginRecharge } from '../../../src/payments/recharge/begin.ts';
import { keepRecharge } from '../../../src/payments/recharge/settings.ts';
import { type Buyer, createRechargeRig, overlapping, type RechargeRig } from './rig.ts';

const CHARGE = { method: 'POST', path: '/v1/payment_intents' } as const;

let rig: RechargeRig;
let buyer: Buyer;
beforeAll(async () => {
  rig = await createRechargeRig();
});
afterAll(() => rig.drop());

beforeEach(async () => {
  buyer = await rig.buyer({ credits: '100', cap: 3_000n });
  await rig.stripe.sim.clearLog();
});
afterEach(async () => {
  await rig.stripe.sim.clearFaults();
  expect(await overlapping(rig)).toEqual([]);
});

/** The calls that charge, as they came: which key, and how they were answered. */
async function calls(): Promise<string[]> {
  const log = await rig.stripe.sim.log();
  return log
    .filter(({ method, path }) => method === 'POST' && path === CHARGE.path)
    .map(({ idempotencyKey }) => `${idempotencyKey}`);
}

const once = { charges: 1, charged: 1000, paid: 1000, granted: '110' };
const nothing = { charges: 0, charged: 0, paid: 0, granted: '0' };

test('Stripe charges and does not answer: nothing else is bought until it is known, and then it is granted once', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_after', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'unknown', payment_intent: null }]);
  await rig.spend(buyer, '50');
  await rig.sweep();
  expect(await beginRecharge(rig.deps, buyer.account)).toBe('in_flight');
  await rig.pass(0.1);
  await rig.work();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'succeeded' }]);
  expect(await rig.money(buyer)).toEqual(once);
});

test('Stripe does not answer and has not charged: it is asked again with the same key', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_before', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  await rig.pass(0.1);
  await rig.work();
  const keys = await calls();
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(1);
  expect(keys[0]).toMatch(/^recharge:rch_/);
  expect(await rig.money(buyer)).toEqual(once);
});

test('Stripe charges and answers 500, and would again to the same key: the charge is found', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'status', status: 500, when: 'after', times: 2 });
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'unknown' }]);
  await rig.pass(0.1);
  await rig.work();
  expect(await rig.money(buyer)).toEqual(once);
});

test('a webhook that overtakes the answer ends it; the answer that comes after grants nothing more', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_after', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  const [told] = await rig.stripe.sim.events({ type: 'payment_intent.succeeded' }).then((all) => all.slice(-1));
  for (let again = 0; again < 3; again++) await rig.hear('payment_intent', told!.data.object.id);
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'succeeded', payment_intent: told!.data.object.id }]);
  await rig.pass(0.1);
  await rig.work();
  expect(await rig.money(buyer)).toEqual(once);
});

test('killed between the row and the call: whoever comes next makes the call', async () => {
  await rig.spend(buyer, '90');
  expect(await beginRecharge(rig.deps, buyer.account)).toBe('begun');
  await rig.pool.query("SELECT recharge_claim(4, '2 minutes')");
  await rig.work();
  expect(await calls()).toEqual([]);
  await rig.pass(0.05);
  await rig.work();
  expect(await rig.money(buyer)).toEqual(once);
});

test('killed between the call and its answer: the same call, the same charge', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_after', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  await rig.pool.query("UPDATE recharges SET status = 'charging', error = NULL WHERE account_id = $1", [buyer.account]);
  await rig.pass(0.1);
  await rig.work();
  expect(await rig.money(buyer)).toEqual(once);
});

test('25 hours later the key is forgotten, so the call is not made again: the charge is looked up', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_after', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  await rig.stripe.sim.clearLog();
  await rig.pass(25);
  await rig.work();
  expect(await calls()).toEqual([]);
  expect(await rig.money(buyer)).toEqual(once);
});

test('25 hours later nothing was charged: it is given up, and wanted again under another key', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_before', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  const first = await calls();
  await rig.stripe.sim.clearLog();
  await rig.pass(25);
  await rig.work();
  expect((await rig.rows(buyer)).map(({ status, error }) => [status, error])).toEqual([
    ['canceled', 'not_found'],
    ['succeeded', null],
  ]);
  expect((await calls()).filter((key) => first.includes(key))).toEqual([]);
  expect(await rig.money(buyer)).toEqual(once);
});

test('disabled while it is not known whether it charged: it is looked up, and not sent again', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_before', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  const off = { enabled: false, threshold: parseCredits('20')!, pack: 'starter', monthlyCapMinor: 3_000n };
  await keepRecharge(rig.pool, buyer.account, off);
  await rig.stripe.sim.clearLog();
  await rig.pass(0.1);
  await rig.work();
  expect(await calls()).toEqual([]);
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'canceled' }]);
  expect(await rig.money(buyer)).toEqual(nothing);
});

test('a key of Stripe that is refused, or too many calls, is no trouble of the customer’s', async () => {
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'status', status: 429 });
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.standing(buyer)).toMatchObject({ failures: 0, stopped_reason: null });
  await rig.pass(0.1);
  await rig.work();
  expect(await rig.money(buyer)).toEqual(once);
});

test('an intent that names a recharge is none of it where customer, amount or currency differ', async () => {
  const { client } = rig.stripe;
  await rig.stripe.sim.fault({ ...CHARGE, kind: 'timeout_before', ms: 1 });
  await rig.spend(buyer, '90');
  await rig.work();
  const id = (await calls())[0]!.slice('recharge:'.length);
  const other = await rig.buyer({ credits: '100' });
  const honest = {
    amount: 1000,
    currency: 'usd',
    customer: buyer.customer,
    confirm: true,
    metadata: { tollgate_recharge: id },
  };
  const { data } = await client.paymentMethods.list({ customer: other.customer });
  for (const hostile of [
    { customer: other.customer, payment_method: data[0]!.id },
    { amount: 999 },
    { currency: 'eur' },
  ]) {
    const method = 'payment_method' in hostile ? {} : { payment_method: 'pm_card_visa' };
    const intent = await client.paymentIntents.create({ ...honest, ...method, ...hostile });
    await rig.hear('payment_intent', intent.id);
  }
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'unknown', payment_intent: null }]);
  expect(await rig.balance(other)).toBe('100');
  expect(await rig.balance(buyer)).toBe('10');
});
