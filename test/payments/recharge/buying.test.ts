import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyCatalog } from '../../../src/catalog/apply.ts';
import { createPool } from '../../../src/db/pool.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import { beginRecharge } from '../../../src/payments/recharge/begin.ts';
import { createRechargeRig, overlapping, type RechargeRig, STARTER } from './rig.ts';

let rig: RechargeRig;
beforeAll(async () => {
  rig = await createRechargeRig();
});
afterAll(() => rig.drop());

test('an account that falls below its threshold buys a pack, and its bonus, once', async () => {
  const buyer = await rig.buyer({ credits: '100', threshold: '20' });
  await rig.spend(buyer, '80');
  await rig.work();
  expect(await rig.rows(buyer)).toEqual([]);
  await rig.spend(buyer, '0.000000001');
  await rig.work();
  await rig.sweep();
  expect(await rig.balance(buyer)).toBe('129.999999999');
  expect(await rig.money(buyer)).toEqual({ charges: 1, charged: 1000, paid: 1000, granted: '110' });
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'succeeded', packs: 1, amount_minor: 1000n, attempts: 1 }]);
});

test('it buys enough at once: the fewest packs that bring it above its threshold, and one more than to it', async () => {
  const deep = await rig.buyer({ credits: '10', threshold: '5' });
  await rig.spend(deep, '215');
  const even = await rig.buyer({ credits: '110', threshold: '110' });
  await rig.spend(even, '110');
  await rig.work();
  expect(await rig.rows(deep)).toMatchObject([{ packs: 2, amount_minor: 2000n }]);
  expect(await rig.balance(deep)).toBe('15');
  expect(await rig.rows(even)).toMatchObject([{ packs: 2, amount_minor: 2000n }]);
});

test('without the hint of the charge that made it low, the sweep finds the account', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  await rig.spend(buyer, '90');
  await rig.pool.query('DELETE FROM recharge_wanted');
  await rig.work();
  expect(await rig.rows(buyer)).toEqual([]);
  await rig.sweep();
  expect(await rig.balance(buyer)).toBe('120');
});

test('enabling it while low buys, and so does a card that comes later', async () => {
  const buyer = await rig.buyer({ credits: '1', card: null });
  expect(await rig.rows(buyer)).toEqual([]);
  const { id } = await rig.attach(buyer, 'pm_card_mastercard');
  await rig.hear('payment_method', id);
  await rig.work();
  expect(await rig.balance(buyer)).toBe('111');
});

test('what running holds reserve is no reason to buy: it is not spent yet', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  await rig.pool.query('UPDATE wallets SET held = posted WHERE account_id = $1', [buyer.account]);
  await rig.sweep();
  expect(await rig.rows(buyer)).toEqual([]);
});

test('of a hundred that ask at once, over two pools, one is in flight', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  await rig.spend(buyer, '95');
  const second = createPool({ url: rig.url, max: 8, applicationName: 'second', log: silentLogger });
  const gateways = [rig.deps, { ...rig.deps, pool: second }];
  const outcomes = await Promise.all(
    Array.from({ length: 100 }, (_, index) => beginRecharge(gateways[index % 2]!, buyer.account)),
  );
  await second.end();
  expect(outcomes.filter((outcome) => outcome === 'begun')).toHaveLength(1);
  expect(new Set(outcomes)).toEqual(new Set(['begun', 'in_flight']));
  await rig.work();
  expect(await rig.money(buyer)).toMatchObject({ charges: 1, granted: '110' });
  await expect(
    rig.pool.query(
      `INSERT INTO recharges (recharge_id, account_id, pack, version, packs, credits, bonus_credits, amount_minor, customer)
       SELECT n, $1, 'starter', 1, 1, 1, 0, 1, 'cus' FROM generate_series(1, 2) n`,
      [buyer.account],
    ),
  ).rejects.toThrow('recharge_in_flight_is_one');
});

test('the monthly cap is never passed, is told once, and ends with its month', async () => {
  const buyer = await rig.buyer({ credits: '100', cap: 2500n });
  for (let round = 0; round < 4; round++) {
    await rig.spend(buyer, round < 2 ? '110' : '60');
    await rig.work();
    await rig.pass(2);
    await rig.sweep();
  }
  expect(await rig.money(buyer)).toMatchObject({ charges: 2, charged: 2000 });
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'monthly_cap' });
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason: 'monthly_cap' }]);
  await rig.pass(24 * 40);
  await rig.sweep();
  expect(await rig.money(buyer)).toMatchObject({ charges: 3 });
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: null });
});

test('a purchase that may have been charged counts towards the cap, one that failed does not', async () => {
  const buyer = await rig.buyer({ credits: '100', cap: 1500n });
  await rig.stripe.sim.fault({ kind: 'decline', code: 'insufficient_funds' });
  await rig.spend(buyer, '90');
  await rig.work();
  await rig.pass(2);
  await rig.sweep();
  expect((await rig.rows(buyer)).map(({ status }) => status)).toEqual(['failed', 'succeeded']);
  const { rows } = await rig.pool.query('SELECT recharge_spent($1, clock_timestamp()) AS cents', [buyer.account]);
  expect(rows).toEqual([{ cents: 1000n }]);
});

test('ten a day are tried at most, whatever becomes of them', async () => {
  const buyer = await rig.buyer({ credits: '100', cap: 100_000n });
  await rig.pool.query(
    `INSERT INTO recharges (recharge_id, account_id, pack, version, packs, credits, bonus_credits, amount_minor, customer, status,
       ended_at) SELECT n, $1, 'starter', 1, 1, 1, 0, 1, 'cus', 'failed', clock_timestamp() FROM generate_series(101, 110) n`,
    [buyer.account],
  );
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason: 'daily_attempts' }]);
  expect(await rig.money(buyer)).toMatchObject({ charges: 0 });
  await rig.pass(25);
  await rig.sweep();
  expect(await rig.money(buyer)).toMatchObject({ charges: 1 });
});

test('a pack that is not sold any more stops it, and it goes on when the pack is back', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  const sell = (body: object) => applyCatalog(rig.pool, [{ ...STARTER, body }], { force: true, prune: false });
  await sell({ ...STARTER.body, public: false });
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'pack_unavailable' });
  await sell(STARTER.body);
  await rig.pass(1.1);
  await rig.sweep();
  expect(await rig.balance(buyer)).toBe('120');
});

test('a suspended account buys nothing, and what was not sent yet is given up', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  await rig.spend(buyer, '90');
  expect(await beginRecharge(rig.deps, buyer.account)).toBe('begun');
  await rig.pool.query('UPDATE wallets SET status = 1 WHERE account_id = $1', [buyer.account]);
  await rig.work();
  await rig.sweep();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'canceled', error: 'not_wanted', payment_intent: null }]);
  expect(await rig.money(buyer)).toMatchObject({ charges: 0 });
});

test('of an erased account no card is kept, and nothing is bought', async () => {
  const buyer = await rig.buyer({ credits: '100' });
  await rig.spend(buyer, '90');
  await rig.pool.query('SELECT account_erase($1)', [buyer.account]);
  await rig.hear('customer', buyer.customer);
  await rig.work();
  const { rows } = await rig.pool.query(
    'SELECT enabled, payment_method, fingerprint, brand, last4 FROM auto_recharge WHERE account_id = $1',
    [buyer.account],
  );
  expect(rows).toEqual([{ enabled: false, payment_method: null, fingerprint: null, brand: null, last4: null }]);
  expect(await rig.rows(buyer)).toEqual([]);
});

test('at no instant was more than one under way of anybody', async () => {
  expect(await overlapping(rig)).toEqual([]);
});
