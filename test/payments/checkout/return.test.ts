/** The whole way of a purchase, and the page that its browser comes back to. */
import { setTimeout as sleep } from 'node:timers/promises';
import type Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parsePublicId } from '../../../src/lib/ids.ts';
import { eventually, expectSettled, get, type TestAccount } from '../../support/gateway.ts';
import { backAt, openTill, PUBLIC_URL, type Till } from './gateway.ts';

let till: Till;
beforeAll(async () => {
  till = await openTill();
});
afterAll(async () => {
  await expectSettled(till.world);
  await till.close();
});
beforeEach(() => till.stripe.sim.clearFaults());

type Session = Stripe.Checkout.Session;
const APP = 'https://app.example.com/done?from=tollgate';
const begin = async (body: object): Promise<{ buyer: TestAccount; session: Session }> => {
  const buyer = await till.buyer();
  const { status } = await till.post(buyer, 'checkout', body);
  expect(status).toBe(200);
  const all = await till.stripe.sim.objects<Session>('checkout.session');
  return { buyer, session: all.find((one) => one.client_reference_id === buyer.accountId)! };
};
const lots = async ({ key }: TestAccount) =>
  ((await get(till.gateway, key, '/account/v1/balance')).lots as { granted: string; kind: string }[]).map(
    ({ granted, kind }) => `${granted} ${kind}`,
  );
const textOf = async (response: Response) => (await response.text()).match(/<p>(.*)<\/p>/)![1];

test('paid once, granted once, though the browser comes back twice as its webhooks arrive at two gateways', async () => {
  await till.stripe.sim.delivery({ when: 'manual' });
  await till.stripe.sim.listen(`${till.gateway.url}/webhooks/stripe`);
  await till.stripe.sim.listen(`${till.other.url}/webhooks/stripe`);
  const { buyer, session } = await begin({ pack: 'starter', success_url: APP });
  await till.stripe.sim.completeSession(session.id);
  const told = (await till.stripe.sim.events()).map(({ id }) => id);
  const [first, second] = await Promise.all([
    backAt(till.gateway, session.success_url!),
    backAt(till.other, session.success_url!),
    till.stripe.sim.deliver([...told, ...told]),
  ]);
  for (const page of [first, second]) {
    expect([page.status, page.headers.get('location')]).toEqual([303, `${APP}&session_id=${session.id}`]);
  }
  const bought = ['10000 topup', '500 bonus'];
  expect((await lots(buyer)).sort()).toEqual(bought.sort());
  await eventually(async () => {
    const { rows } = await till.world.pool.query("SELECT 1 FROM stripe_events WHERE state = 'waiting'");
    return rows.length === 0;
  }, 'all events are worked off');
  expect((await lots(buyer)).sort()).toEqual(bought.sort());
  const { rows } = await till.world.pool.query("SELECT 1 FROM stripe_events WHERE state = 'dead'");
  expect(rows).toEqual([]);
  const payments = await till.world.pool.query('SELECT granted, paid_minor FROM payments WHERE account_id = $1', [
    buyer.account,
  ]);
  expect(payments.rows).toEqual([{ granted: 10_500_000_000_000n, paid_minor: 1000n }]);
});

test('without a URL of the app the page says what was bought, and nothing else of the account', async () => {
  const { session } = await begin({ pack: 'starter' });
  await till.stripe.sim.completeSession(session.id);
  const page = await backAt(till.gateway, session.success_url!);
  expect(page.status).toBe(200);
  expect(page.headers.get('cache-control')).toBe('no-store');
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
  const html = await page.text();
  expect(html).toContain('Paid, 10500 credits added.');
  expect(html).not.toMatch(/acct_|cus_|cs_|pi_|chk_|script/);
});

test('money that takes days is being processed until it comes', async () => {
  const { buyer, session } = await begin({ pack: 'euros' });
  await till.stripe.sim.completeSession(session.id, { method: 'async' });
  const page = await backAt(till.gateway, session.success_url!);
  expect(page.headers.get('refresh')).toBe('5');
  expect(await textOf(page)).toMatch(/being processed/);
  expect(await lots(buyer)).toEqual([]);
  await till.stripe.sim.settleAsync(session.id, 'succeeded');
  expect(await textOf(await backAt(till.gateway, session.success_url!))).toMatch(/20000 credits added/);
});

test('nothing due, with a promotion code, grants the pack as it is', async () => {
  const coupon = await till.stripe.client.coupons.create({ percent_off: 100, duration: 'once' });
  const promotion = { type: 'coupon' as const, coupon: coupon.id };
  await till.stripe.client.promotionCodes.create({ promotion, code: 'GIFT' });
  const { buyer, session } = await begin({ pack: 'starter' });
  await till.stripe.sim.completeSession(session.id, { promotion_code: 'GIFT' });
  expect(await textOf(await backAt(till.gateway, session.success_url!))).toMatch(/10500 credits added/);
  expect((await lots(buyer)).sort()).toEqual(['10000 topup', '500 bonus'].sort());
});

test('a plan is active as soon as the browser is back', async () => {
  const { session } = await begin({ plan: 'pro' });
  await till.stripe.sim.completeSession(session.id);
  expect(await textOf(await backAt(till.gateway, session.success_url!))).toBe('Thank you. Your plan is active.');
});

test('who turns back was charged nothing; who comes without having paid is told so', async () => {
  const { session } = await begin({ pack: 'starter', success_url: APP });
  expect(session.cancel_url).toBe(`${session.success_url}&cancelled=1`);
  expect(await textOf(await backAt(till.gateway, session.cancel_url!))).toBe('Cancelled. Nothing was charged.');
  expect(await textOf(await backAt(till.gateway, session.success_url!))).toBe('This has not been paid yet.');
  await till.stripe.sim.expireSession(session.id);
  expect(await textOf(await backAt(till.gateway, session.success_url!))).toMatch(/is over/);
});

test.each([
  '',
  '?checkout=',
  '?checkout=chk_0000000000001',
  '?checkout=acct_0000000000001',
  '?checkout=a&checkout=b',
  '?checkout=%00',
])('there is no such payment: %j', async (query) => {
  const page = await backAt(till.other, `${PUBLIC_URL}/billing/return${query}`);
  expect([page.status, await textOf(page)]).toEqual([404, 'There is no such payment.']);
});

test('Stripe is asked at most ten times a minute for a checkout, and its trouble is not the browser’s', async () => {
  const { session } = await begin({ pack: 'starter' });
  await till.stripe.sim.completeSession(session.id);
  await till.stripe.sim.fault({ kind: 'status', status: 500, when: 'before', path: '/v1/checkout/sessions', times: 3 });
  expect((await backAt(till.gateway, session.success_url!)).status).toBe(200);
  await till.stripe.sim.clearFaults();
  await till.stripe.sim.clearLog();
  for (let i = 0; i < 12; i++) expect((await backAt(till.gateway, session.success_url!)).status).toBe(200);
  const asked = (await till.stripe.sim.log()).filter(({ path }) => path === `/v1/checkout/sessions/${session.id}`);
  expect(asked.length).toBeGreaterThan(0);
  const first = asked.length;
  await sleep(5);
  await backAt(till.gateway, session.success_url!);
  expect((await till.stripe.sim.log()).filter(({ path }) => path === asked[0]!.path)).toHaveLength(first);
  expect(parsePublicId('chk', new URL(session.success_url!).searchParams.get('checkout')!)).not.toBeNull();
});
