/** Buying through a real gateway: what Stripe is asked, once, and what is refused. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { findAccount } from '../../../src/accounts/accounts.ts';
import { publicId } from '../../../src/lib/ids.ts';
import { checkoutOf } from '../../../src/payments/checkout.ts';
import { ADMIN_KEY, get } from '../../support/gateway.ts';
import { openTill, PUBLIC_URL, type Till } from './gateway.ts';

let till: Till;
beforeAll(async () => {
  till = await openTill();
});
afterAll(() => till.close());
beforeEach(() => till.stripe.sim.clearFaults());

type Session = Stripe.Checkout.Session;
const sessions = async (account: string) =>
  (await till.stripe.sim.objects<Session>('checkout.session')).filter((one) => one.client_reference_id === account);
const rows = async (account: bigint) =>
  (
    await till.world.pool.query<Record<string, unknown>>(
      'SELECT * FROM checkouts WHERE account_id = $1 ORDER BY checkout_id',
      [account],
    )
  ).rows;
const code = ({ body }: { body: { error?: { code: string } } }) => body.error?.code;
const param = ({ body }: { body: { error?: { param: string | null } } }) => body.error?.param;

test('a pack is offered at its price, and all that comes of it names the account', async () => {
  const buyer = await till.buyer();
  const { status, body } = await till.post(buyer, 'checkout', { pack: 'starter' });
  expect(status).toBe(200);
  expect(Object.keys(body)).toEqual(['url']);
  const [row] = await rows(buyer.account);
  const [session] = await sessions(buyer.accountId);
  const account = (await findAccount(till.world.pool, buyer.account))!;
  expect(row).toMatchObject({
    kind: 'pack',
    name: 'starter',
    credits: 10_000_000_000_000n,
    bonus_credits: 500_000_000_000n,
    expires_days: 365,
    currency: 'usd',
    amount_minor: 1000n,
    status: 'open',
    session_id: session!.id,
    customer_id: account.stripeCustomerId,
  });
  const metadata = { tollgate_account: buyer.accountId, tollgate_checkout: expect.stringMatching(/^chk_/) };
  expect(session).toMatchObject({
    url: body.url,
    mode: 'payment',
    amount_total: 1000,
    currency: 'usd',
    customer: account.stripeCustomerId,
    client_reference_id: buyer.accountId,
    allow_promotion_codes: true,
    metadata,
  });
  expect(session!.success_url).toBe(`${PUBLIC_URL}/billing/return?checkout=${session!.metadata!.tollgate_checkout}`);
  const paid = (await till.stripe.sim.completeSession(session!.id)) as Session;
  expect(await till.stripe.client.paymentIntents.retrieve(paid.payment_intent as string)).toMatchObject({ metadata });
});

test.each([
  [
    { pack: 'starter', currency: 'eur' },
    { currency: 'eur', amount_total: 950 },
  ],
  [
    { pack: 'starter', currency: 'jpy' },
    { currency: 'jpy', amount_total: 1500 },
  ],
  [
    { pack: 'starter', currency: 'kwd' },
    { currency: 'kwd', amount_total: 3070 },
  ],
  [{ pack: 'euros' }, { currency: 'eur', amount_total: 1999 }],
  [{ pack: 'kept-there' }, { currency: 'usd', amount_total: 2000 }],
  [{ plan: 'pro' }, { mode: 'subscription', amount_total: 2000 }],
  [
    { plan: 'pro', quantity: 3 },
    { mode: 'subscription', amount_total: 6000 },
  ],
] as const)('%j is sold', async (body, session) => {
  const buyer = await till.buyer();
  expect((await till.post(buyer, 'checkout', body)).status).toBe(200);
  expect((await sessions(buyer.accountId))[0]).toMatchObject(session);
});

test('a plan is sold by the price that is asked for, of its own', async () => {
  const buyer = await till.buyer();
  const { year, once } = till.prices;
  expect((await till.post(buyer, 'checkout', { plan: 'pro', price: year })).status).toBe(200);
  const [session] = await sessions(buyer.accountId);
  const { data } = await till.stripe.client.checkout.sessions.listLineItems(session!.id);
  expect(data[0]!.price!.id).toBe(year);
  expect(param(await till.post(buyer, 'checkout', { plan: 'pro', price: once }))).toBe('price');
});

test.each([
  [{ pack: 'nobody-has-it' }, 404, 'pack'],
  [{ pack: 'secret' }, 404, 'pack'],
  [{ plan: 'hidden' }, 404, 'plan'],
  [{ pack: 'unpriced' }, 400, 'pack'],
  [{ plan: 'premium' }, 400, 'plan'],
  [{ pack: 'starter', plan: 'pro' }, 400, 'plan'],
  [{}, 400, 'pack'],
  [{ pack: 'starter', currency: 'chf' }, 400, 'currency'],
  [{ pack: 'kept-there', currency: 'usd' }, 400, 'currency'],
  [{ plan: 'pro', quantity: 10_001 }, 400, 'quantity'],
  [{ plan: 'pro', quantity: 0 }, 400, 'quantity'],
  [{ pack: 'starter', success_url: 'https://me:secret@a.example/' }, 400, 'success_url'],
  [{ pack: 'starter', cancel_url: 'http://a.example/' }, 400, 'cancel_url'],
] as const)('%j is refused, and Stripe is not asked', async (body, status, field) => {
  const buyer = await till.buyer();
  const answer = await till.post(buyer, 'checkout', body);
  expect([answer.status, param(answer)]).toEqual([status, field]);
  expect(await rows(buyer.account)).toEqual([]);
  expect((await findAccount(till.world.pool, buyer.account))!.stripeCustomerId).toBeNull();
});

test('one key begins one checkout, however often it is sent at once to two gateways', async () => {
  const buyer = await till.buyer();
  const send = (i: number, body: object = { pack: 'starter' }) =>
    till.post(buyer, 'checkout', body, { 'idempotency-key': 'order-1' }, i % 2 === 0 ? till.gateway : till.other);
  const answers = await Promise.all(Array.from({ length: 16 }, (_, i) => send(i)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(new Set(answers.map(({ body }) => body.url)).size).toBe(1);
  expect(await sessions(buyer.accountId)).toHaveLength(1);
  expect(await rows(buyer.account)).toHaveLength(1);
  expect(code(await send(0, { pack: 'starter', currency: 'eur' }))).toBe('idempotency_key_reused');
  await till.stripe.sim.completeSession((await sessions(buyer.accountId))[0]!.id);
  expect(code(await send(0))).toBe('conflict');
  expect(await sessions(buyer.accountId)).toHaveLength(1);
});

test('a session that Stripe made and did not tell of is the one that the same key leads to', async () => {
  const buyer = await till.buyer();
  const send = () => till.post(buyer, 'checkout', { pack: 'starter' }, { 'idempotency-key': 'lost' });
  const path = '/v1/checkout/sessions';
  await till.stripe.sim.fault({ kind: 'timeout_after', path, ms: 5 });
  await till.stripe.sim.fault({ kind: 'timeout_before', path, ms: 5, times: 2 });
  const lost = await send();
  expect([lost.status, code(lost)]).toEqual([503, 'stripe_unavailable']);
  await till.stripe.sim.clearFaults();
  const { status, body } = await send();
  const [session, ...others] = await sessions(buyer.accountId);
  expect([status, body.url, others]).toEqual([200, session!.url, []]);
  expect(await rows(buyer.account)).toMatchObject([{ session_id: session!.id, status: 'open' }]);
});

test('a session is of the checkout that it names only where its customer and its reference are that checkout’s', async () => {
  const [victim, other] = [await till.buyer(), await till.buyer()];
  await till.post(other, 'portal', {});
  const path = '/v1/checkout/sessions';
  await till.stripe.sim.fault({ kind: 'timeout_before', path, ms: 5, times: 3 });
  await till.post(victim, 'checkout', { pack: 'starter' }, { 'idempotency-key': 'open' });
  await till.stripe.sim.clearFaults();
  const [row] = await rows(victim.account);
  const customerOf = async ({ account }: { account: bigint }) =>
    (await findAccount(till.world.pool, account))!.stripeCustomerId!;
  const named = async (customer: string, client_reference_id: string | null) =>
    checkoutOf(till.world.pool, {
      id: 'cs_made_elsewhere',
      metadata: { tollgate_checkout: publicId('chk', row!.checkout_id as bigint), tollgate_account: victim.accountId },
      customer,
      client_reference_id,
    });
  expect(await named(await customerOf(other), victim.accountId)).toBeNull();
  expect(await named(await customerOf(victim), other.accountId)).toBeNull();
  expect(await named(await customerOf(victim), null)).toBeNull();
  expect(await named(await customerOf(victim), victim.accountId)).toMatchObject({ account: victim.account });
});

test('a checkout that nobody can learn of any more is over, and does not count', async () => {
  const buyer = await till.buyer();
  await till.stripe.sim.fault({ kind: 'timeout_after', path: '/v1/checkout/sessions', ms: 5 });
  await till.stripe.sim.fault({ kind: 'timeout_before', path: '/v1/checkout/sessions', ms: 5, times: 2 });
  expect(code(await till.post(buyer, 'checkout', { pack: 'starter' }))).toBe('stripe_unavailable');
  await till.stripe.sim.clearFaults();
  expect(await rows(buyer.account)).toMatchObject([{ status: 'expired', session_id: null }]);
  await till.stripe.sim.fault({ kind: 'status', status: 500, when: 'before', path: '/v1/checkout/sessions', times: 3 });
  const headers = { 'idempotency-key': 'broken' };
  expect(code(await till.post(buyer, 'checkout', { pack: 'starter' }, headers))).toBe('stripe_unavailable');
  await till.stripe.sim.clearFaults();
  expect((await till.post(buyer, 'checkout', { pack: 'starter' }, headers)).status).toBe(200);
});

test('what Stripe refuses is told without its words, and the key is free again', async () => {
  const buyer = await till.buyer();
  const headers = { 'idempotency-key': 'first' };
  await till.stripe.client.prices.update(till.prices.month, { active: false });
  const { status, body } = await till.post(buyer, 'checkout', { plan: 'pro' }, headers);
  expect([status, body.error!.code]).toEqual([502, 'stripe_refused']);
  expect(JSON.stringify(body)).not.toContain('price_');
  await till.stripe.client.prices.update(till.prices.month, { active: true });
  expect((await till.post(buyer, 'checkout', { plan: 'pro' }, headers)).status).toBe(200);
});

test('an account has at most 20 open checkouts, also when it asks for 30 at once', async () => {
  const buyer = await till.buyer();
  const ask = (i: number) =>
    till.post(buyer, 'checkout', { pack: 'starter' }, {}, i % 2 === 0 ? till.gateway : till.other);
  const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => ask(i)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(20);
  expect(new Set(answers.filter(({ status }) => status !== 200).map(code))).toEqual(new Set(['conflict']));
  await till.world.pool.query(
    "UPDATE checkouts SET created_at = created_at - interval '25 hours' WHERE account_id = $1",
    [buyer.account],
  );
  expect((await ask(0)).status).toBe(200);
});

test('who subscribes to a plan is sent to the portal, not to a second subscription', async () => {
  const buyer = await till.buyer();
  await till.world.pool.query(
    `INSERT INTO subscriptions (subscription_id, account_id, customer_id, status, plan, quantity)
     VALUES ('sub_x', $1, 'cus_x', 'past_due', 'pro', 1)`,
    [buyer.account],
  );
  const refused = await till.post(buyer, 'checkout', { plan: 'pro' });
  expect([refused.status, code(refused), param(refused)]).toEqual([409, 'conflict', 'plan']);
  expect((await till.post(buyer, 'checkout', { pack: 'starter' })).status).toBe(200);
  await till.world.pool.query("UPDATE subscriptions SET status = 'canceled', ended_at = now() WHERE account_id = $1", [
    buyer.account,
  ]);
  expect((await till.post(buyer, 'checkout', { plan: 'pro' })).status).toBe(200);
});

test('a plan is not subscribed to twice, though its checkout is begun in two windows', async () => {
  const buyer = await till.buyer();
  for (let i = 0; i < 2; i++) expect((await till.post(buyer, 'checkout', { plan: 'pro' })).status).toBe(200);
  const states = async () => (await sessions(buyer.accountId)).map(({ status }) => status);
  expect((await states()).sort()).toEqual(['expired', 'open']);
  expect((await rows(buyer.account)).map(({ status }) => status)).toEqual(['expired', 'open']);
  const open = (await sessions(buyer.accountId)).find(({ status }) => status === 'open')!;
  // Nobody has heard of it here.
  await till.stripe.sim.completeSession(open.id);
  const again = await till.post(buyer, 'checkout', { plan: 'pro' });
  expect([again.status, code(again), param(again)]).toEqual([409, 'conflict', 'plan']);
  expect((await states()).sort()).toEqual(['complete', 'expired']);
  expect((await till.post(buyer, 'checkout', { pack: 'starter' })).status).toBe(200);
});

test('what is not public is not listed; a plan says by which prices it is sold', async () => {
  const buyer = await till.buyer();
  const { packs, plans } = (await get(till.gateway, buyer.key, '/account/v1/catalog')) as Record<string, object[]>;
  expect(packs!.map((one) => (one as { pack: string }).pack).sort()).toEqual(
    ['euros', 'kept-there', 'starter', 'unpriced'].sort(),
  );
  const { month, year } = till.prices;
  expect(plans).toContainEqual(expect.objectContaining({ plan: 'pro', stripe_prices: [month, year] }));
});

test('the portal is the account’s own; a customer that was deleted at Stripe is replaced', async () => {
  const buyer = await till.buyer();
  const first = await till.post(buyer, 'portal', { return_url: 'https://app.example.com/account' });
  expect(first.status).toBe(200);
  const customer = async () => (await findAccount(till.world.pool, buyer.account))!.stripeCustomerId!;
  const old = await customer();
  await till.stripe.client.customers.del(old);
  expect((await till.post(buyer, 'portal', {})).status).toBe(200);
  expect(await customer()).not.toBe(old);
  await till.stripe.client.customers.del(await customer());
  const headers = { 'idempotency-key': 'after' };
  const { status, body } = await till.post(buyer, 'checkout', { pack: 'starter' }, headers);
  const [session] = await sessions(buyer.accountId);
  expect([status, session!.url, session!.customer]).toEqual([200, body.url, await customer()]);
});

test('only a key that may bill, of an account that is not suspended, buys', async () => {
  const reader = await till.buyer(['read', 'inference', 'consume']);
  for (const path of ['checkout', 'portal']) {
    expect(code(await till.post(reader, path, { pack: 'starter' }))).toBe('scope_missing');
  }
  const buyer = await till.buyer();
  await fetch(`${till.gateway.url}/admin/v1/accounts/${buyer.accountId}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: '{"status":"suspended"}',
  });
  const answers = [
    await till.post(buyer, 'checkout', { pack: 'starter' }),
    await till.post(buyer, 'portal', {}, {}, till.other),
  ];
  expect(answers.map((one) => [one.status, code(one)])).toEqual([
    [403, 'account_suspended'],
    [403, 'account_suspended'],
  ]);
  expect(await sessions(buyer.accountId)).toEqual([]);
});
