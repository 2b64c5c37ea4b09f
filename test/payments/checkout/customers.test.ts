/** The customer of an account at Stripe: one, whatever goes wrong on the way. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eraseAccount, findAccount } from '../../../src/accounts/accounts.ts';
import { publicId } from '../../../src/lib/ids.ts';
import { ensureCustomer, withCustomer } from '../../../src/payments/customers.ts';
import { openShop, type Shop } from './rig.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await openShop();
});
afterAll(() => shop.close());
beforeEach(async () => {
  await shop.stripe.sim.clearFaults();
  await shop.stripe.sim.clearLog();
});

const customersOf = async (account: bigint) =>
  (await shop.stripe.sim.objects<Stripe.Customer & { id: string }>('customer')).filter(
    ({ metadata }) => metadata?.tollgate_account === publicId('acct', account),
  );
const keptOf = async (account: bigint) => (await findAccount(shop.database.pool, account))!.stripeCustomerId;

/** Stripe makes the customer, and is away before it says so. */
async function loseAnswer() {
  const path = '/v1/customers';
  await shop.stripe.sim.fault({ kind: 'timeout_after', path, ms: 5 });
  await shop.stripe.sim.fault({ kind: 'timeout_before', path, ms: 5, times: 100 });
}

test('an account has one customer, however many ask for it at once at two gateways', async () => {
  const account = await shop.account({ name: 'Ada Lovelace', email: 'ada@example.com' });
  const gateways = [await shop.deps(), await shop.deps()];
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ensureCustomer(gateways[i % 2]!, account)));
  const [customer] = await customersOf(account);
  expect(await customersOf(account)).toHaveLength(1);
  expect(new Set(answers)).toEqual(new Set([customer!.id]));
  expect(customer).toMatchObject({ name: 'Ada Lovelace', email: 'ada@example.com' });
  expect(await keptOf(account)).toBe(customer!.id);
  await shop.stripe.sim.clearLog();
  expect(await ensureCustomer(gateways[0]!, account)).toBe(customer!.id);
  expect(await shop.asked('POST', '/v1/customers')).toBe(0);
});

test('a customer that Stripe made and did not tell of is found by the same key', async () => {
  const account = await shop.account();
  await shop.stripe.sim.fault({ kind: 'timeout_after', path: '/v1/customers', ms: 5 });
  const customer = await ensureCustomer(await shop.deps(), account);
  expect((await customersOf(account)).map(({ id }) => id)).toEqual([customer]);
});

test('asked again a day later, its key forgotten, it is looked up first', async () => {
  const account = await shop.account();
  const deps = await shop.deps();
  await loseAnswer();
  await expect(ensureCustomer(deps, account)).rejects.toMatchObject({ code: 'stripe_unavailable' });
  await shop.stripe.sim.clearFaults();
  await shop.database.pool.query(
    "UPDATE customer_requests SET asked_at = clock_timestamp() - interval '24 hours' WHERE account_id = $1",
    [account],
  );
  const customer = await ensureCustomer(deps, account);
  expect((await customersOf(account)).map(({ id }) => id)).toEqual([customer]);
});

test('a failure that Stripe repeats under the key, or a name that changed meanwhile, is no dead end', async () => {
  const deps = await shop.deps();
  const failed = await shop.account();
  await shop.stripe.sim.fault({
    kind: 'status',
    status: 500,
    when: 'after',
    method: 'POST',
    path: '/v1/customers',
    times: 2,
  });
  const found = await ensureCustomer(deps, failed);
  expect((await customersOf(failed)).map(({ id }) => id)).toContain(found);
  const renamed = await shop.account();
  await loseAnswer();
  await expect(ensureCustomer(deps, renamed)).rejects.toMatchObject({ code: 'stripe_unavailable' });
  await shop.stripe.sim.clearFaults();
  await shop.database.pool.query("UPDATE accounts SET name = 'Countess' WHERE account_id = $1", [renamed]);
  const kept = await ensureCustomer(deps, renamed);
  expect((await customersOf(renamed)).map(({ id }) => id)).toEqual([kept]);
});

test('while another asks for the same customer, it is waited for', async () => {
  const account = await shop.account();
  await shop.stripe.sim.fault({ kind: 'status', status: 409, when: 'before', path: '/v1/customers', times: 3 });
  const customer = await ensureCustomer(await shop.deps(), account);
  expect((await customersOf(account)).map(({ id }) => id)).toEqual([customer]);
});

test('a customer that was deleted at Stripe is replaced, once, however many find out at once', async () => {
  const account = await shop.account();
  const gateways = [await shop.deps(), await shop.deps()];
  const old = await ensureCustomer(gateways[0]!, account);
  await shop.stripe.client.customers.del(old);
  const use = (i: number) =>
    withCustomer(gateways[i % 2]!, account, async (customer) => {
      await shop.stripe.client.paymentIntents.create({ customer, amount: 100, currency: 'usd' });
      return customer;
    });
  const answers = new Set(await Promise.all(Array.from({ length: 8 }, (_, i) => use(i))));
  expect(answers.size).toBe(1);
  expect(answers).not.toContain(old);
  expect(await keptOf(account)).toBe([...answers][0]);
  expect(await customersOf(account)).toHaveLength(1);
});

test('nobody becomes a customer whose account was erased', async () => {
  const account = await shop.account({ email: 'gone@example.com' });
  await eraseAccount(shop.database.pool, account);
  await expect(ensureCustomer(await shop.deps(), account)).rejects.toMatchObject({ code: 'conflict' });
  expect(await shop.asked('POST', '/v1/customers')).toBe(0);
});

test('what Stripe refuses is told as that, without its words', async () => {
  const account = await shop.account({ email: 'a@example.com' });
  const deps = await shop.deps({ log: silent() });
  const wrong = {
    ...deps,
    stripe: {
      ...deps.stripe,
      client: (await import('../../support/stripe.ts')).stripeClient(shop.stripe.url, 'nonsense'),
    },
  };
  await expect(ensureCustomer(wrong, account)).rejects.toMatchObject({ code: 'stripe_refused', status: 502 });
  expect(JSON.stringify(lines)).not.toContain('a@example.com');
  expect(lines).toHaveLength(1);
});

const lines: unknown[] = [];
function silent() {
  const note = (line: unknown): void => void lines.push(line);
  return { warn: note, error: note } as never;
}
