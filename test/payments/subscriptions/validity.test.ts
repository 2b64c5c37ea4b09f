/** Until when a subscription allows its plan: a table by state, and that no state allows for ever. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allowedUntil, type SubscriptionFacts } from '../../../src/payments/sync/validity.ts';

const day = (n: number): Date => new Date(Date.UTC(2026, 0, 1) + n * 86_400_000);
/** A month that ends on day 30, the one before that paid. */
const facts = (more: Partial<SubscriptionFacts>): SubscriptionFacts => ({
  status: 'active',
  periodEnd: day(30),
  trialEnd: null,
  cancelAt: null,
  cancelsAtPeriodEnd: false,
  isCollectionPaused: false,
  paidUntil: day(30),
  ...more,
});

test.each<[string, Partial<SubscriptionFacts>, number, number | null]>([
  ['active: two days after the period, in which a renewal is paid', {}, 0, 32],
  ['active: the days of grace where they are more', {}, 5, 35],
  ['active, renewed and not paid yet: by its period', { paidUntil: day(0) }, 3, 33],
  ['trialing: by the end of the trial', { status: 'trialing', trialEnd: day(14) }, 0, 16],
  ['past due: grace from the end of what was paid', { status: 'past_due', paidUntil: day(0) }, 3, 3],
  ['past due without grace: not a moment longer', { status: 'past_due', paidUntil: day(0) }, 0, 0],
  ['past due and never paid: not at all', { status: 'past_due', paidUntil: null }, 3, null],
  ["cancels at the period's end: then, exactly", { cancelsAtPeriodEnd: true }, 5, 30],
  ['cancels at an instant in the period: then', { cancelAt: day(10) }, 5, 10],
  ['cancels at an instant beyond the period: the period, for now', { cancelAt: day(100) }, 5, 35],
  ['trial that cancels at its end', { status: 'trialing', trialEnd: day(14), cancelAt: day(14) }, 5, 14],
  [
    'past due and cancelling: whichever comes first',
    { status: 'past_due', paidUntil: day(0), cancelAt: day(30) },
    3,
    3,
  ],
  ['collection is paused: grace from the end of what was paid', { isCollectionPaused: true }, 3, 33],
  ['collection is paused, and a period went by', { isCollectionPaused: true, paidUntil: day(0) }, 3, 3],
  ['canceled', { status: 'canceled' }, 5, null],
  ['unpaid', { status: 'unpaid' }, 5, null],
  ['incomplete', { status: 'incomplete' }, 5, null],
  ['incomplete and expired', { status: 'incomplete_expired' }, 5, null],
  ['paused: its trial ended without a card', { status: 'paused' }, 5, null],
  ['a status that this release does not know', { status: 'hibernating' }, 5, null],
])('%s', (_, more, grace, until) => {
  expect(allowedUntil(facts(more), grace)).toEqual(until === null ? null : day(until));
});

test('nothing is allowed beyond grace after the last period, nor beyond a cancellation, nor for ever', () => {
  const instant = fc.option(fc.integer({ min: -400, max: 400 }).map(day));
  const status = fc.constantFrom('active', 'trialing', 'past_due', 'canceled', 'unpaid', 'incomplete', 'paused');
  fc.assert(
    fc.property(
      fc.record({
        status,
        periodEnd: instant,
        trialEnd: instant,
        cancelAt: instant,
        cancelsAtPeriodEnd: fc.boolean(),
        isCollectionPaused: fc.boolean(),
        paidUntil: instant,
      }),
      fc.integer({ min: 0, max: 365 }),
      (some, grace) => {
        const until = allowedUntil(some, grace);
        if (until === null) return;
        const ends = [some.periodEnd, some.trialEnd, some.paidUntil].flatMap((end) => end ?? []);
        const last = Math.max(...ends.map((end) => end.getTime())) + Math.max(grace, 2) * 86_400_000;
        expect(until.getTime()).toBeLessThanOrEqual(last);
        if (some.cancelAt !== null) expect(until.getTime()).toBeLessThanOrEqual(some.cancelAt.getTime());
        expect(allowedUntil(some, grace + 1)!.getTime()).toBeGreaterThanOrEqual(until.getTime());
      },
    ),
  );
});
