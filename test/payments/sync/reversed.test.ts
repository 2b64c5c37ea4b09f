import fc from 'fast-check';
import { expect, it } from 'vitest';
import { reversedMinor } from '../../../src/payments/sync/reversed.ts';

const USD = 'usd';
const refund = (amount: number, status: string | null = 'succeeded') => ({ amount, status });
const dispute = (amount: number, ...moved: number[]) => ({
  amount,
  currency: USD,
  balance_transactions: moved.map((sum) => ({ amount: sum, currency: USD })),
});
/** Of an account that is paid out in another currency. */
const converted = (amount: number, ...moved: number[]) => ({
  ...dispute(amount),
  balance_transactions: moved.map((sum) => ({ amount: sum, currency: 'eur' })),
});

const table: Array<[string, Parameters<typeof reversedMinor>[0], bigint]> = [
  ['nothing', { refunds: [], disputes: [] }, 0n],
  ['a part refunded', { refunds: [refund(250)], disputes: [] }, 250n],
  [
    'a refund under way, one that waits',
    { refunds: [refund(1, 'pending'), refund(2, 'requires_action')], disputes: [] },
    3n,
  ],
  [
    'a refund that failed, one that was canceled',
    { refunds: [refund(250, 'failed'), refund(1, 'canceled')], disputes: [] },
    0n,
  ],
  ['an inquiry', { refunds: [], disputes: [dispute(1000)] }, 0n],
  ['a dispute, whose fee comes on top', { refunds: [], disputes: [dispute(400, -400, -1500)] }, 400n],
  ['a dispute in another currency than we are paid out in', { refunds: [], disputes: [converted(400, -371)] }, 400n],
  ['one that was reinstated at a lower rate', { refunds: [], disputes: [converted(400, -371, 368)] }, 0n],
  [
    'one that was reinstated at a higher rate, and lost',
    { refunds: [], disputes: [converted(400, -371, 390, -370)] },
    400n,
  ],
  ['a refund that says nothing of its status', { refunds: [refund(250, null)], disputes: [] }, 250n],
  ['one that was reinstated', { refunds: [], disputes: [dispute(400, -400, 400)] }, 0n],
  ['one that was reinstated and lost again', { refunds: [], disputes: [dispute(400, -400, 400, -400)] }, 400n],
  ['the same money refunded and disputed', { refunds: [refund(800)], disputes: [dispute(1000, -1000)] }, 1000n],
  ['a dispute of another currency', { refunds: [], disputes: [{ ...dispute(5, -5), currency: 'jpy' }] }, 1000n],
];

it.each(table)('%s: what went back of 10.00 is told in its minor unit', (_, reversals, expected) => {
  expect(reversedMinor(reversals, 1000n, USD)).toBe(expected);
});

it('is between nothing and all that was paid, and does not ask for an order', () => {
  const refunds = fc.array(
    fc.record({ amount: fc.nat(2000), status: fc.constantFrom('pending', 'succeeded', 'failed') }),
  );
  const disputes = fc.array(
    fc
      .record({ amount: fc.nat(2000), moved: fc.array(fc.integer({ min: -2000, max: 2000 })) })
      .map((d) => dispute(d.amount, ...d.moved)),
  );
  fc.assert(
    fc.property(refunds, disputes, fc.nat(2000), (some, others, paid) => {
      const reversed = reversedMinor({ refunds: some, disputes: others }, BigInt(paid), USD);
      expect(reversed >= 0n && reversed <= BigInt(paid)).toBe(true);
      const turned = { refunds: some.toReversed(), disputes: others.toReversed() };
      expect(reversedMinor(turned, BigInt(paid), USD)).toBe(reversed);
    }),
  );
});
