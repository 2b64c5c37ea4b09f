import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey, PLAIN_KEY } from '../../../src/accounts/keys.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  post,
  startGateway,
  type TestGateway,
  type World,
} from '../../support/gateway.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';

const PACKS = `
packs:
  starter: { price: { usd: "10.00" }, credits: 100, bonus_credits: 10 }
  euros: { price: { eur: "9.00" }, credits: 100 }
  hidden: { price: { usd: "1.00" }, credits: 100, public: false }
`;

let stripe: TestStripe;
let world: World;
let gateways: TestGateway[];
beforeAll(async () => {
  stripe = await startStripe();
  world = await createWorld(stripe.env);
  appendFileSync(join(world.folder, 'catalog.yaml'), PACKS);
  gateways = [await startGateway(world), await startGateway(world)];
  await stripe.sim.listen(`${gateways[1]!.url}/webhooks/stripe`);
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.close();
  await stripe.close();
  await closeWorld(world);
});

interface Customer {
  account: bigint;
  customer: string;
  key: string;
}

async function createCustomer(credits: string): Promise<Customer> {
  const { account } = await createTestAccount(world, credits);
  const { id: customer } = await stripe.client.customers.create({ name: 'Customer' });
  await world.pool.query('UPDATE accounts SET stripe_customer_id = $2 WHERE account_id = $1', [account, customer]);
  const scopes = ['inference', 'read', 'billing'] as const;
  const key = await createKey(world.pool, systemClock, account, { ...PLAIN_KEY, scopes: [...scopes] });
  return { account, customer, key: key.text };
}

async function call(method: 'GET' | 'PUT', { key }: Customer, body?: object) {
  const response = await fetch(`${gateways[0]!.url}/account/v1/auto_recharge`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Record<string, unknown> & { error?: { param: string; code: string } };
  return { status: response.status, answer };
}

async function charged({ customer }: Customer): Promise<number> {
  return (await stripe.sim.charges()).find((row) => row.customer === customer)?.charged ?? 0;
}

test('a hundred requests at once over two gateways cross the threshold, and Stripe does not answer: one charge, one grant', async () => {
  const buyer = await createCustomer('1000');
  await stripe.client.paymentMethods.attach('pm_card_visa', { customer: buyer.customer });
  const asked = { enabled: true, threshold: '999.5', pack: 'starter', monthly_cap_usd: '30' };
  const { answer } = await call('PUT', buyer, asked);
  expect(answer).toMatchObject({
    ...asked,
    state: 'ready',
    payment_method: { brand: 'visa', last4: '4242' },
    in_flight: null,
  });
  await stripe.sim.fault({ kind: 'timeout_after', method: 'POST', path: '/v1/payment_intents', ms: 20 });
  const body = JSON.stringify({ model: 'plain', max_tokens: 5, messages: [{ role: 'user', content: 'Say hello' }] });
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, index) => post(gateways[index % 2]!, buyer.key, body)),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  await Promise.all(answers.map((one) => one.text()));
  const succeeded = async () => {
    const { rows } = await world.pool.query('SELECT status FROM recharges WHERE account_id = $1', [buyer.account]);
    return rows.length > 0 && rows.every(({ status }) => status === 'succeeded');
  };
  await eventually(succeeded, 'the recharge is known to have charged');
  expect(await charged(buyer)).toBe(1000);
  expect((await call('GET', buyer)).answer).toMatchObject({
    state: 'ready',
    spent_this_month_usd: '10',
    in_flight: null,
  });
  const { rows } = await world.pool.query(
    'SELECT count(*)::int AS payments, sum(granted)::text AS granted FROM payments WHERE account_id = $1',
    [buyer.account],
  );
  expect(rows).toEqual([{ payments: 1, granted: '110000000000' }]);
  const { rows: wallet } = await world.pool.query('SELECT posted FROM wallets WHERE account_id = $1', [buyer.account]);
  expect(wallet).toEqual([{ posted: 1_110_000_000_000n - 100n * 18_000_000n }]);
  await expectSettled(world);
});

test('what is asked of auto-recharge is checked, and nothing of it is kept where it is refused', async () => {
  const buyer = await createCustomer('0');
  expect((await call('GET', buyer)).answer).toEqual({
    enabled: false,
    threshold: null,
    pack: null,
    monthly_cap_usd: null,
    state: 'off',
    stopped_reason: null,
    stopped_at: null,
    spent_this_month_usd: '0',
    payment_method: null,
    in_flight: null,
  });
  const whole = { enabled: true, threshold: '5', pack: 'starter', monthly_cap_usd: '50' };
  const refused: [object, string][] = [
    [{ ...whole, enabled: undefined }, 'enabled'],
    [{ ...whole, threshold: undefined }, 'threshold'],
    [{ ...whole, threshold: '-1' }, 'threshold'],
    [{ ...whole, pack: undefined }, 'pack'],
    [{ ...whole, pack: 'nothing' }, 'pack'],
    [{ ...whole, pack: 'hidden' }, 'pack'],
    [{ ...whole, pack: 'euros' }, 'pack'],
    [{ ...whole, monthly_cap_usd: undefined }, 'monthly_cap_usd'],
    [{ ...whole, monthly_cap_usd: '9.99' }, 'monthly_cap_usd'],
    [{ ...whole, monthly_cap_usd: '1000000.01' }, 'monthly_cap_usd'],
    [{ ...whole, monthly_cap_usd: 0.001 }, 'monthly_cap_usd'],
    [{ ...whole, card: 'x' }, 'card'],
  ];
  for (const [body, param] of refused) {
    const { status, answer } = await call('PUT', buyer, body);
    expect([status, answer.error?.param], JSON.stringify(body)).toEqual([400, param]);
  }
  expect((await call('GET', buyer)).answer).toMatchObject({ enabled: false, threshold: null });
  expect((await call('PUT', buyer, whole)).answer).toMatchObject({ ...whole, state: 'needs_payment_method' });
  expect((await call('PUT', buyer, { enabled: false })).answer).toMatchObject({
    ...whole,
    enabled: false,
    state: 'off',
  });
});

test('enabled before there is a card: the card that pays the next checkout is kept, and charged when credits run low', async () => {
  const buyer = await createCustomer('0');
  await call('PUT', buyer, { enabled: true, threshold: '200', pack: 'starter', monthly_cap_usd: '10' });
  const response = await fetch(`${gateways[0]!.url}/account/v1/checkout`, {
    method: 'POST',
    headers: { authorization: `Bearer ${buyer.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ pack: 'starter', success_url: 'https://app.example.com/' }),
  });
  expect(response.status).toBe(200);
  const sessions = await stripe.sim.objects<{ id: string; object: string; customer: string }>('checkout.session');
  await stripe.sim.completeSession(sessions.find(({ customer }) => customer === buyer.customer)!.id, {
    method: 'card',
  });
  // Asked of the database: a key has 120 calls a minute.
  const bought = async () =>
    (await world.pool.query("SELECT FROM recharges WHERE account_id = $1 AND status = 'succeeded'", [buyer.account]))
      .rowCount === 1;
  await eventually(bought, 'the card is known, and the account buys');
  expect(await charged(buyer)).toBe(2000);
  expect((await call('GET', buyer)).answer).toMatchObject({
    state: 'ready',
    spent_this_month_usd: '10',
    in_flight: null,
    payment_method: { brand: 'visa' },
  });
  const { rows } = await world.pool.query('SELECT posted FROM wallets WHERE account_id = $1', [buyer.account]);
  expect(rows).toEqual([{ posted: 220_000_000_000n }]);
});
