/** How invoices stand that give each other time back: what was received for each, and what of it went back. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { behind, type Member, reversedOf, standingsOf, touchedBy } from '../../../src/payments/sync/given-back.ts';
import type { LineFacts } from '../../../src/payments/sync/lines.ts';

const at = (hour: number): Date => new Date(Date.UTC(2026, 0, 1, hour));
const END = at(24 * 31);

/** A line that gives back so much of another invoice. */
function back(credits: string, amount: bigint, end = END): LineFacts {
  const id = `${credits} ${amount}`;
  const facts = { price: 'price', quantity: 1n, isProration: true, isCredit: true, isTakenThere: false };
  return { id, amount: -amount, asked: -amount, credits, start: at(0), end, ...facts };
}
const invoice = (id: string, hour: number, asked: bigint, reversed = 0n, lines: LineFacts[] = []): Member => ({
  id,
  paidAt: at(hour),
  asked,
  reversed,
  lines,
});
/** What was paid and reversed of each, where all of its lines grant as much for their money. */
function standing(members: readonly Member[]): [id: string, paid: bigint, reversed: bigint][] {
  return [...standingsOf(members)].map(([id, one]) => [id, one.paid, reversedOf(one, [], new Map())]);
}
/** `paid/reversed` of each. */
function told(...members: Member[]): Record<string, string> {
  return Object.fromEntries(standing(members).map(([id, paid, reversed]) => [id, `${paid}/${reversed}`]));
}

test('an upgrade was paid by what it was given, too; what gave that has it no more', () => {
  expect(told(invoice('o', 0, 20n), invoice('u', 1, 30n, 0n, [back('o', 10n)]))).toEqual({ o: '20/10', u: '40/0' });
});

test('a downgrade that gives back more than it asks for was paid by that alone', () => {
  expect(told(invoice('o', 0, 80n), invoice('d', 1, -30n, 0n, [back('o', 40n)]))).toEqual({ o: '80/40', d: '10/0' });
});

test('what is refunded beyond what is left was not there to give: all refunds take all', () => {
  const upgrade = (own: bigint) => invoice('u', 1, 30n, own, [back('o', 10n)]);
  expect(told(invoice('o', 0, 20n, 10n), upgrade(0n))).toEqual({ o: '20/20', u: '40/0' });
  expect(told(invoice('o', 0, 20n, 14n), upgrade(0n))).toEqual({ o: '20/20', u: '40/4' });
  expect(told(invoice('o', 0, 20n, 20n), upgrade(30n))).toEqual({ o: '20/20', u: '40/40' });
  const last = invoice('v', 2, -24n, 0n, [back('u', 40n)]);
  expect(told(invoice('o', 0, 20n, 20n), upgrade(6n), last)).toEqual({ o: '20/20', u: '40/40', v: '16/16' });
});

test('time that is over, or that an invoice gives which was not paid before, is set off where it stands', () => {
  expect(told(invoice('o', 0, 20n), invoice('c', 2, 30n, 0n, [back('o', 10n, at(2))]))).toEqual({
    o: '20/0',
    c: '30/0',
  });
  expect(told(invoice('o', 5, 20n), invoice('u', 1, 30n, 0n, [back('o', 10n)]))).toEqual({ o: '20/0', u: '30/0' });
  expect(told(invoice('u', 1, 30n, 0n, [back('gone', 10n)]))).toEqual({ u: '30/0' });
});

test('whichever of them is asked for, what is lost is laid to the same ones', () => {
  const all = [
    invoice('o', 0, 40n, 10n),
    invoice('u', 1, 20n, 0n, [back('o', 20n)]),
    invoice('v', 2, 20n, 0n, [back('o', 20n)]),
    invoice('w', 2, 0n, 0n, [back('v', 10n)]),
  ];
  const expected = { o: '40/40', u: '40/0', v: '40/20', w: '10/0' };
  expect(told(...all)).toEqual(expected);
  expect(told(...all.toReversed())).toEqual(expected);
});

test('of what is given back, the credits of just those lines go', () => {
  const line = (id: string, asked: bigint): LineFacts => ({
    ...back('', -asked),
    id,
    isProration: false,
    isCredit: false,
  });
  const lines = [line('plan', 20n), line('pack', 50n), line('support', 130n)];
  const granted = new Map([
    ['plan', 1000n],
    ['pack', 9000n],
  ]);
  const gone = (lost: bigint, ...given: [line: string, amount: bigint][]) => {
    const some = given.map(([of, amount]) => ({ lines: [of], amount }));
    return reversedOf({ paid: 200n, lost, refunded: lost, given: some, taken: new Set() }, lines, granted);
  };
  expect(gone(0n, ['plan', 20n])).toBe(20n);
  expect(gone(0n, ['plan', 10n])).toBe(10n);
  expect(gone(0n, ['pack', 50n])).toBe(180n);
  expect(gone(0n, ['support', 130n])).toBe(0n);
  expect(gone(100n, ['support', 130n], ['plan', 10n])).toBe(110n);
  expect(gone(0n, ['plan', 20n], ['pack', 50n])).toBe(200n);
  expect(gone(0n, ['plan', 30n])).toBe(20n);
});

test('an invoice bears on those it gives time back of, and on whoever these gave to; only money of those before stands behind it', () => {
  const all = [
    invoice('n', 0, 20n),
    invoice('o', 0, 20n, 0n, [back('n', 10n)]),
    invoice('u', 1, 30n, 0n, [back('o', 10n)]),
    invoice('v', 2, 30n, 0n, [back('u', 10n)]),
    invoice('x', 3, 5n),
    invoice('y', 4, 5n, 0n, [back('o', 1n)]),
  ];
  const ids = (members: Member[]): string => members.map(({ id }) => id).join('');
  expect(ids(touchedBy('u', all))).toBe('ouvy');
  expect(ids(touchedBy('v', all))).toBe('uv');
  expect(ids(touchedBy('x', all))).toBe('x');
  expect(ids(behind('u', all))).toBe('nou');
});

test('whatever is refunded, what is left of all invoices is the money that is left of all charges, unless more went back than came', () => {
  const some = fc.array(
    fc.record({
      share: fc.integer({ min: 0, max: 100 }),
      cash: fc.bigInt(0n, 500n),
      refunded: fc.integer({ min: 0, max: 100 }),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(some, (steps) => {
      let value = 0n;
      const members = steps.map(({ share, cash, refunded }, n) => {
        const given = n === 0 ? 0n : (value * BigInt(share)) / 100n;
        value = cash + given;
        return invoice(
          `i${n}`,
          n,
          cash,
          (cash * BigInt(refunded)) / 100n,
          given > 0n ? [back(`i${n - 1}`, given)] : [],
        );
      });
      const money = members.reduce((sum, { asked, reversed }) => sum + asked - reversed, 0n);
      const left = standing(members).reduce((sum, [, paid, reversed]) => sum + paid - reversed, 0n);
      expect(left).toBe(money);
    }),
  );
});
