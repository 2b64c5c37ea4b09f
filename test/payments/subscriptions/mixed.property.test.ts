/**
 * Of several plans in one subscription, each dearer or cheaper for a credit than the others: whatever is added, taken off or changed and
 * billed at once, an account holds what the lines of its invoices charged, less what they gave back, each at the rate of its own plan; and
 * nothing once all charges are refunded, where no customer's balance paid.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sync } from '../../../src/payments/sync/sync.ts';
import { createSubscriptionRig, DAY, type SubscriptionRig } from './rig.ts';

const RUNS = Number(process.env.SUBSCRIPTION_RUNS ?? 1);
/** Cents and credits of a month. */
const PLANS = [
  { cents: 2000, credits: 10_000 },
  { cents: 8000, credits: 8000 },
  { cents: 10_000, credits: 100 },
  { cents: 5000, credits: 0 },
];
const MOST_PER_CENT = 5;

let rig: SubscriptionRig;
let prices: string[];
beforeAll(async () => {
  rig = await createSubscriptionRig();
  prices = [];
  for (const [n, { cents, credits }] of PLANS.entries()) {
    const included = { included_credits: { credits: String(credits), every: 'month', rollover: 'all' } };
    prices.push(...(await rig.plan(`plan${n}`, credits === 0 ? {} : included, [cents, 'month'])));
  }
});
afterAll(() => rig.drop());

/** By plans: how many of each there are; 0: none. */
const seats = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: PLANS.length, maxLength: PLANS.length });
const some = seats.filter((counts) => counts.some((count) => count > 0));
const step = fc.record({ counts: some, days: fc.integer({ min: 0, max: 4 }) });

test('what is held is what was charged less what was given back, by the rates of the plans', async () => {
  const steps = fc.array(step, { minLength: 2, maxLength: 5 });
  await fc.assert(fc.asyncProperty(steps, live), { numRuns: RUNS, endOnFailure: true });
}, 600_000);

async function live([first, ...others]: readonly { counts: number[]; days: number }[]): Promise<void> {
  const { account, customer } = await rig.subscriber();
  const items = itemsOf(first!.counts);
  const { id } = await rig.stripe.subscriptions.create({ customer, items });
  await rig.heard();
  for (const { counts, days } of others) {
    rig.until(rig.sim.now() + days * DAY);
    await change(id, counts);
    await rig.heard((all) => [...all.toReversed(), ...all]);
    const { credits, lines } = await charged(customer);
    expect(Math.abs(Number(await rig.held(account)) - credits)).toBeLessThanOrEqual((lines + 1) * MOST_PER_CENT);
  }
  // What a balance paid, which an earlier change had left, is not told from money of its own.
  const invoices = await rig.stripe.invoices.list({ customer, limit: 100 });
  if (invoices.data.some(({ starting_balance }) => starting_balance !== 0)) return;
  const { data } = await rig.stripe.charges.list({ customer, limit: 100 });
  for (const { id: charge } of data) {
    await rig.stripe.refunds.create({ charge });
    await sync(rig.deps, { kind: 'charge', id: charge }, null);
  }
  expect(Math.abs(Number(await rig.held(account)))).toBeLessThanOrEqual(MOST_PER_CENT);
}

function itemsOf(counts: readonly number[]): { price: string; quantity: number }[] {
  return counts.flatMap((quantity, n) => (quantity === 0 ? [] : [{ price: prices[n]!, quantity }]));
}

async function change(subscription: string, counts: readonly number[]): Promise<void> {
  const { items } = await rig.stripe.subscriptions.retrieve(subscription);
  const standing = new Map(items.data.map((item) => [item.price.id, item.id]));
  const kept = itemsOf(counts).map(({ price, quantity }) => {
    const id = standing.get(price);
    return id === undefined ? { price, quantity } : { id, quantity };
  });
  const gone = [...standing].flatMap(([price, id]) =>
    counts[prices.indexOf(price)] === 0 ? [{ id, deleted: true }] : [],
  );
  await rig.stripe.subscriptions.update(subscription, {
    items: [...kept, ...gone],
    proration_behavior: 'always_invoice',
  });
}

async function charged(customer: string): Promise<{ credits: number; lines: number }> {
  const invoices = await rig.stripe.invoices.list({ customer, limit: 100 });
  const lines = invoices.data.flatMap((invoice) => invoice.lines.data);
  const credits = lines.reduce((sum, { amount, pricing }) => {
    const plan = PLANS[prices.indexOf(pricing?.price_details?.price as string)]!;
    return sum + (amount * plan.credits) / plan.cents;
  }, 0);
  return { credits, lines: lines.length };
}
