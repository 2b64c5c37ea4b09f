/** Each kind of drift between Stripe and us: named by the reconciler, mended by a repair, then clean. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { putEntry } from '../../../src/catalog/store.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { mintId, publicId } from '../../../src/lib/ids.ts';
import { verifyBooks } from '../../../src/metering/usage-audit.ts';
import { type Report, reconcile } from '../../../src/payments/reconcile/reconcile.ts';
import { balanceOf, createPayRig, type Payer, type PayRig, paymentOf } from '../sync/rig.ts';

let rig: PayRig;
let packPrice: string;
let planPrice: string;
beforeAll(async () => {
  rig = await createPayRig();
  const product = (await rig.client.products.create({ name: 'Credits' })).id;
  packPrice = (await rig.client.prices.create({ product, currency: 'usd', unit_amount: 500 })).id;
  planPrice = (
    await rig.client.prices.create({ product, currency: 'usd', unit_amount: 2000, recurring: { interval: 'month' } })
  ).id;
  await putEntry(rig.pool, 'pack', 'small', { stripe_price: packPrice, credits: '500' }, 'test');
  const included = { credits: '2000', every: 'month' };
  await putEntry(
    rig.pool,
    'plan',
    'pro',
    { models: ['*'], stripe_prices: [planPrice], included_credits: included },
    'test',
  );
  await rig.deps.catalogs.refresh();
});
/** Of each test: what was made before is in line already. */
let from: Date;
beforeEach(() => {
  from = new Date(Date.now() - 1_000);
});
afterAll(async () => {
  expect((await verifyBooks(rig.pool)).differences).toEqual([]);
  await rig.close();
});

const compare = (repair: boolean): Promise<Report> => reconcile(rig.deps, { from, repair, perSecond: 10_000 });

/** The drift is named, and by nothing but this; a repair mends it; then all is in line, and the books are right. */
async function expectMended(...kinds: string[]): Promise<void> {
  // What is a moment old is left alone unless it is to be repaired: it may be on its way.
  const found = await compare(true);
  expect(found.unread).toEqual([]);
  expect(found.differences.map(({ kind }) => kind).sort()).toEqual([...kinds].sort());
  expect(found.differences.filter(({ mended }) => !mended)).toEqual([]);
  expect(found.ok).toBe(true);
  await expectClean();
}

async function expectClean(): Promise<void> {
  expect((await compare(true)).differences).toEqual([]);
}

/** A pack of 1,000 credits and 100 beside for 10 USD, paid by card. Its payment intent. */
async function bought(payer: Payer): Promise<string> {
  const session = await rig.checkout(payer, { credits: 1000, bonus: 100 });
  const done = await rig.simulator.control.completeSession(session.id, { method: 'card' });
  return done.payment_intent as string;
}

async function subscribed(payer: Payer) {
  return rig.client.subscriptions.create({
    customer: payer.customer,
    items: [{ price: planPrice }],
    default_payment_method: await cardOf(payer),
  });
}

async function cardOf({ customer }: Payer): Promise<string> {
  return (await rig.client.customers.listPaymentMethods(customer)).data[0]!.id;
}

test('a system in line has no differences, and looks at little', async () => {
  const payer = await rig.payer();
  await rig.sync('payment_intent', await bought(payer));
  await expectClean();
});

test('what was paid and not granted is named, and granted', async () => {
  const payer = await rig.payer();
  await bought(payer);
  await expectMended('missing_grant', 'stuck_intent');
  expect(await balanceOf(rig, payer.account)).toBe(1100);
});

test('what is named without a repair is left as it is', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  const later = { ...rig.deps, clock: { ...systemClock, now: () => systemClock.now() + 300_000 } };
  const found = await reconcile(later, { from, repair: false, perSecond: 10_000 });
  expect(found).toMatchObject({
    ok: false,
    differences: [
      {
        kind: 'missing_grant',
        account: payer.account,
        object: intent,
        expected: '1100 credits granted',
        found: '0 credits',
        mended: false,
      },
      { kind: 'stuck_intent' },
    ],
  });
  expect(await balanceOf(rig, payer.account)).toBe(0);
  expect(await paymentOf(rig, intent)).toBeNull();
  expect((await reconcile(rig.deps, { from, repair: false, perSecond: 10_000 })).ok).toBe(true);
  await expectMended('missing_grant', 'stuck_intent');
});

test('a refund that was not heard of, and one that failed unheard, are named and clawed back, or given back', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  await rig.sync('payment_intent', intent);
  const refund = await rig.client.refunds.create({ payment_intent: intent, amount: 500 });
  await expectMended('missing_clawback');
  expect(await balanceOf(rig, payer.account)).toBe(550);
  await rig.simulator.control.failRefund(refund.id);
  await expectMended('wrong_clawback');
  expect(await balanceOf(rig, payer.account)).toBe(1100);
});

test('a dispute whose money was withdrawn unheard is named and clawed back', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  await rig.sync('payment_intent', intent);
  const { latest_charge } = await rig.client.paymentIntents.retrieve(intent);
  await rig.simulator.control.dispute(latest_charge as string, 'chargeback');
  await expectMended('missing_clawback');
  expect(await balanceOf(rig, payer.account)).toBe(0);
});

test('credits that a person granted for a payment that was granted as well are named and taken back', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  await rig.sync('payment_intent', intent);
  await grantByHand(payer.account, `for ${intent}`, 1000);
  await expectMended('double_grant');
  expect(await balanceOf(rig, payer.account)).toBe(1100);
});

/** As the admin API grants. */
async function grantByHand(account: bigint, reference: string, credits: number): Promise<void> {
  const terms = Buffer.from(JSON.stringify({ kind: 10, reference, priority: 0, per_usd: '1000' }));
  await rig.pool.query(
    `SELECT ledger_apply(ARRAY[3]::smallint[], ARRAY[$1::bigint], ARRAY[uuid_at(clock_timestamp())], ARRAY[0]::bigint[], ARRAY[$2::bigint],
       ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::smallint[], ARRAY[0], ARRAY[1],
       ARRAY[$3::integer], $4, 0::bigint)`,
    [account, BigInt(credits) * 1_000_000_000n, terms.length, terms],
  );
}

test('an amount that stands wrong here is named and set right, with what was clawed back by it', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  await rig.client.refunds.create({ payment_intent: intent, amount: 500 });
  await rig.sync('payment_intent', intent);
  await rig.pool.query('UPDATE payments SET paid_minor = 2000, reversed_minor = 1000 WHERE payment_key = $1', [intent]);
  await expectMended('wrong_amount');
  expect(await balanceOf(rig, payer.account)).toBe(550);
});

test('a payment that stands here with other credits than the ledger granted is named and set right', async () => {
  const payer = await rig.payer();
  const intent = await bought(payer);
  await rig.sync('payment_intent', intent);
  await rig.pool.query('UPDATE payments SET granted = 5, paid_minor = 999 WHERE payment_key = $1', [intent]);
  await expectMended('ledger_differs', 'wrong_amount');
  expect(await paymentOf(rig, intent)).toMatchObject({ granted: 1_100_000_000_000n, paid: 1000n });
});

test('a payment of nobody is named until it is known whose it is, then granted', async () => {
  const session = await rig.simulator.control.paymentLink([{ price: packPrice, quantity: 2 }], {
    customer_creation: 'always',
  });
  const done = await rig.simulator.control.completeSession(session.id, { method: 'card' });
  const found = await compare(true);
  expect(found).toMatchObject({ ok: false, differences: [{ kind: 'orphan_payment', mended: false }] });
  expect(found.differences[0]!.advice).toContain('stripe_customer_id');
  const payer = await rig.payer({ customer: done.customer as string });
  await expectMended('missing_grant');
  expect(await balanceOf(rig, payer.account)).toBe(1000);
});

test('a payment of a guest is named until a person grants it by hand, naming it', async () => {
  const session = await rig.simulator.control.paymentLink([{ price: packPrice }], {});
  const done = await rig.simulator.control.completeSession(session.id, { method: 'card' });
  expect(await compare(true)).toMatchObject({ ok: false, differences: [{ kind: 'orphan_payment' }] });
  const payer = await rig.payer();
  await grantByHand(payer.account, done.payment_intent as string, 500);
  await expectClean();
});

test('a payment that another account has the credits of is named and moved, as far as it was not reversed', async () => {
  const wrong = await rig.payer();
  const right = await rig.payer();
  const intent = await bought(wrong);
  await rig.client.refunds.create({ payment_intent: intent, amount: 100 });
  await rig.sync('payment_intent', intent);
  const swap = 'UPDATE accounts SET stripe_customer_id = $2 WHERE account_id = $1';
  await rig.pool.query(swap, [wrong.account, null]);
  await rig.pool.query(swap, [right.account, wrong.customer]);
  await expectMended('wrong_account');
  expect(await balanceOf(rig, wrong.account)).toBe(0);
  expect(await balanceOf(rig, right.account)).toBe(990);
});

test('a checkout that ran out unheard, and a recharge that was never resolved, are named and ended', async () => {
  const payer = await rig.payer();
  const session = await rig.checkout(payer, { credits: 10 });
  await rig.simulator.control.expireSession(session.id);
  await rig.pool.query("UPDATE checkouts SET created_at = created_at - interval '2 days' WHERE session_id = $1", [
    session.id,
  ]);
  const recharge = mintId(systemClock);
  await rig.pool.query(
    `INSERT INTO recharges (recharge_id, account_id, pack, version, packs, credits, bonus_credits, amount_minor, customer, payment_method,
       status, attempts, created_at, sent_at, due_at)
     VALUES ($1, $2, 'starter', 1, 1, 1000, 0, 1000, $3, $4, 'unknown', 2, clock_timestamp() - interval '30 hours',
       clock_timestamp() - interval '30 hours', clock_timestamp() + interval '1 day')`,
    [recharge, payer.account, payer.customer, await cardOf(payer)],
  );
  await expectMended('stuck_intent', 'stuck_intent');
  const { rows } = await rig.pool.query('SELECT status FROM recharges WHERE recharge_id = $1', [recharge]);
  expect([publicId('rch', recharge), rows[0]]).toEqual([publicId('rch', recharge), { status: 'canceled' }]);
});

test('a subscription whose end, and one whose change, was not heard of are named, and their plans set right', async () => {
  const gone = await rig.payer();
  const ending = await rig.payer();
  const [first, second] = [await subscribed(gone), await subscribed(ending)];
  for (const { id } of [first, second]) await rig.sync('subscription', id);
  await expectClean();
  await rig.client.subscriptions.cancel(first.id);
  await expectMended('plan_differs');
  await rig.client.subscriptions.update(second.id, { cancel_at_period_end: true });
  await expectMended('validity_differs');
});

test('a subscription that was never heard of is named, with its credits, and granted', async () => {
  const payer = await rig.payer();
  await subscribed(payer);
  await expectMended('plan_differs', 'missing_grant');
  expect(await balanceOf(rig, payer.account)).toBe(2000);
});

test('events that could not be delivered, and those that were given up, are named and processed', async () => {
  const payer = await rig.payer();
  await rig.simulator.control.listen('http://127.0.0.1:9/webhooks/stripe');
  await rig.simulator.control.delivery({ when: 'auto' });
  const intent = await bought(payer);
  await rig.simulator.control.advance({ days: 4 });
  await rig.simulator.control.delivery({ when: 'manual' });
  const found = await compare(true);
  const kinds = new Set(found.differences.map(({ kind }) => kind));
  expect(kinds).toEqual(new Set(['missing_grant', 'stuck_intent', 'undelivered_event']));
  expect(found.ok).toBe(true);
  await expectClean();
  await rig.pool.query(
    `UPDATE stripe_events SET state = 'dead', ended_at = clock_timestamp(), error = 'tried too often' WHERE object_id = $1`,
    [intent],
  );
  const dead = await compare(true);
  expect(new Set(dead.differences.map(({ kind }) => kind))).toEqual(new Set(['dead_event']));
  expect(dead.ok).toBe(true);
  await expectClean();
});

test('two at once: one of them is told to wait', async () => {
  const both = await Promise.allSettled([compare(false), compare(false)]);
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
});
