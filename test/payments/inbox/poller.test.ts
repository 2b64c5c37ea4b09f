/** What Stripe could not deliver is found: no webhook is the only way to credits. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runOnce } from '../../../src/db/job-runs.ts';
import { poll, pollerJob } from '../../../src/payments/poller.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';
import { createRig, type Rig, rows } from './rig.ts';

let rig: Rig;
let stripe: TestStripe;
let answer = 200;
beforeAll(async () => {
  [rig, stripe] = await Promise.all([createRig(), startStripe()]);
  rig.deps = { ...rig.deps, stripe: { client: stripe.client, livemode: false } };
  await stripe.sim.listen(() => answer);
});
afterAll(async () => {
  await rig.database.drop();
  await stripe.close();
});
beforeEach(async () => {
  answer = 200;
  await rig.database.pool.query('DELETE FROM stripe_events; DELETE FROM job_runs');
});

const customers = async (names: string[]): Promise<void> => {
  for (const name of names) {
    const { id } = await stripe.client.customers.create({ name });
    await stripe.client.customers.update(id, { name: `${name}, of age` });
  }
};
const types = async (): Promise<string[]> => (await rows(rig)).map(({ type }) => type);

it('events that were not delivered are stored, those that were are not; the same again stores nothing', async () => {
  const from = await stripe.sim.now();
  await customers(['delivered']);
  answer = 500;
  await customers(['lost', 'lost too']);
  expect(await poll(rig.deps, from)).toBe(2);
  expect(await rows(rig)).toMatchObject([
    { type: 'customer.updated', state: 'waiting', source: 'poll', object_kind: 'customer', body: null },
    { type: 'customer.updated', state: 'waiting', source: 'poll' },
  ]);
  expect(await poll(rig.deps, from)).toBe(0);
});

it('it walks all pages, and every type of ours', async () => {
  const from = await stripe.sim.now();
  answer = 500;
  await customers(Array.from({ length: 120 }, (_, i) => `customer ${i}`));
  const { id } = await stripe.client.customers.create({});
  await stripe.client.paymentIntents.create({
    amount: 100,
    currency: 'usd',
    customer: id,
    payment_method: 'pm_card_visa',
    confirm: true,
    return_url: 'https://example.com',
  });
  await poll(rig.deps, from);
  const found = await types();
  expect(found.filter((type) => type === 'customer.updated').length).toBeGreaterThanOrEqual(120);
  expect(found).toContain('payment_intent.succeeded');
});

it('one process asks, each five minutes; the next looks back to the last one and an hour', async () => {
  answer = 500;
  await customers(['lost']);
  let woken = 0;
  const jobs = [1, 2, 3].map(() => pollerJob({ deps: rig.deps, stored: () => void woken++ }));
  await stripe.sim.clearLog();
  const { signal } = new AbortController();
  await Promise.all(jobs.map((job) => job.run(signal)));
  const asked = async () => (await stripe.sim.log()).filter(({ path }) => path === '/v1/events').length;
  const once = await asked();
  expect(once).toBeGreaterThan(0);
  expect(woken).toBe(1);
  await Promise.all(jobs.map((job) => job.run(signal)));
  expect(await asked()).toBe(once);
  await rig.database.pool.query('UPDATE job_runs SET due_at = now()');
  await jobs[0]!.run(signal);
  expect(await asked()).toBe(2 * once);
});

it('that Stripe is away is tried again when the lease is over, from where the last good run began', async () => {
  const { pool } = rig.database;
  const terms = { everyMs: 1_000, leaseMs: 1_000 };
  const seen: (Date | null)[] = [];
  const run = (work: () => Promise<void>) =>
    runOnce(pool, 'test', terms, async (last) => {
      seen.push(last);
      await work();
    });
  const due = () => pool.query('UPDATE job_runs SET due_at = now()');
  expect(await run(async () => {})).toBe(true);
  expect(await run(async () => {})).toBe(false);
  await due();
  await expect(run(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  await due();
  expect(await run(async () => {})).toBe(true);
  expect(seen[0]).toBeNull();
  expect(seen[1]).toBeInstanceOf(Date);
  expect(seen[2]).toEqual(seen[1]);
});
