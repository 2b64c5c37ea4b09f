/**
 * Credits follow money: whatever is changed of a subscription, billed at once, refunded, or heard of in whatever order and however often,
 * what its account was granted and kept is what its money bought. Both plans cost the same for a credit, so money tells credits.
 */
import fc from 'fast-check';
import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sync } from '../../../src/payments/sync/sync.ts';
import { createSubscriptionRig, DAY, type SubscriptionRig } from './rig.ts';

const CREDITS_PER_CENT = 5;
const RUNS = Number(process.env.SUBSCRIPTION_RUNS ?? 2);

let rig: SubscriptionRig;
let prices: string[];
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = (credits: string) => ({ included_credits: { credits, every: 'month', rollover: 'all' } });
  const [pro, year] = (await rig.plan('pro', included('10000'), [2000, 'month'], [24_000, 'year'])) as [string, string];
  const [max] = (await rig.plan('max', included('40000'), [8000, 'month'])) as [string];
  prices = [pro, max, year];
});
afterAll(() => rig.drop());

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constant('change' as const),
      price: fc.nat(1),
      quantity: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('wait' as const), days: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('year' as const) }) },
);

/** What the customer has paid and not got back, in cents: by cards, and by what waits on its balance. */
async function kept(customer: string): Promise<number> {
  const charges = await rig.stripe.charges.list({ customer, limit: 100 });
  const paid = charges.data.filter(({ status }) => status === 'succeeded');
  const left = paid.reduce((sum, { amount, amount_refunded }) => sum + amount - amount_refunded, 0);
  const { balance } = (await rig.stripe.customers.retrieve(customer)) as Stripe.Customer;
  return left + balance;
}

test('changes that are billed at once, then a refund: credits = money kept, after each step', async () => {
  const steps = fc.array(step, { minLength: 1, maxLength: 5 });
  await fc.assert(fc.asyncProperty(steps, fc.integer({ min: 1, max: 1500 }), fc.infiniteStream(fc.nat(2)), live), {
    numRuns: RUNS,
    endOnFailure: true,
  });
}, 600_000);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function live(steps: readonly Step[], cents: number, chance: Iterator<number>): Promise<void> {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: prices[0]! }] });
  const item = sub.items.data[0]!.id;
  const disorder = (): number => (chance.next().value as number) - 1;
  const compare = async (lines: number): Promise<void> => {
    const expected = (await kept(customer)) * CREDITS_PER_CENT;
    // Each line is rounded to a cent.
    expect(Math.abs(Number(await rig.held(account)) - expected)).toBeLessThanOrEqual(lines * CREDITS_PER_CENT);
  };
  for (const [n, one] of steps.entries()) {
    if (one.does === 'wait') rig.until(rig.sim.now() + one.days * (DAY / 2));
    else {
      const change =
        one.does === 'year' ? { price: prices[2]! } : { price: prices[one.price]!, quantity: one.quantity };
      const items = [{ id: item, ...change }];
      await rig.stripe.subscriptions.update(sub.id, { items, proration_behavior: 'always_invoice' });
    }
    await rig.heard((all) => [...all, ...all].toSorted(disorder));
    await compare(2 * n + 3);
  }
  // Last, since Stripe gives unused time back whether its money was refunded or not.
  await refund(customer, cents);
  await compare(2 * steps.length + 3);
}

async function refund(customer: string, cents: number): Promise<void> {
  const { data } = await rig.stripe.charges.list({ customer, limit: 100 });
  const charge = data.find(({ status, amount }) => status === 'succeeded' && amount >= cents);
  if (charge === undefined) return;
  await rig.stripe.refunds.create({ charge: charge.id, amount: cents });
  await sync(rig.deps, { kind: 'charge', id: charge.id }, null);
}
