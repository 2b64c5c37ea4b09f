import { expect, it } from 'vitest';
import type { Pack } from '../../../src/catalog/types.ts';
import { NANO_PER_CREDIT } from '../../../src/lib/money.ts';
import { type Item, itemLines, soldLines } from '../../../src/payments/sync/bought.ts';

const PAID_AT = new Date('2026-03-01T00:00:00Z');
const credits = (whole: number) => BigInt(whole) * NANO_PER_CREDIT;
const pack = (name: string, some: number, bonus = 0, expiresDays: number | null = null) =>
  ({ name, credits: credits(some), bonusCredits: credits(bonus), expiresDays }) as Pack;
const PACKS = new Map([
  ['price_small', pack('small', 100)],
  ['price_large', pack('large', 1000, 50, 30)],
  ['price_vast', pack('vast', 600_000_000)],
]);
const item = (id: string, price: string | null, more: Partial<Item> = {}): Item => ({
  id,
  price,
  custom: false,
  quantity: 1,
  paid: 1000n,
  ...more,
});
const bought = (...items: Item[]) => itemLines(items, (price) => PACKS.get(price), PAID_AT);
const lines = (...items: Item[]) => {
  const result = bought(...items);
  return typeof result === 'string'
    ? result
    : result.lines.map(({ line, kind, credits: nano }) => [line, kind, nano / NANO_PER_CREDIT]);
};

it('grants credits and bonus as two lots that end together, counted from when it was paid', () => {
  const expiresAt = new Date('2026-03-31T00:00:00Z');
  const shared = { startsAt: null, expiresAt, reason: 'large' };
  expect(soldLines(PACKS.get('price_large')!, 9900n, PAID_AT)).toEqual([
    { line: 'credits', kind: 10, credits: credits(1000), paid: 9900n, ...shared },
    { line: 'bonus', kind: 12, credits: credits(50), paid: null, ...shared },
  ]);
  expect(soldLines(PACKS.get('price_small')!, 1000n, PAID_AT)).toMatchObject([{ line: 'credits', expiresAt: null }]);
});

it('grants a pack as often as it was bought, and names the lines of several by their items', () => {
  expect(lines(item('li_1', 'price_small', { quantity: 3 }), item('li_2', 'price_large', { quantity: 2 }))).toEqual([
    ['li_1', 10, 300n],
    ['li_2', 10, 2000n],
    ['li_2:bonus', 12, 100n],
  ]);
});

it('grants nothing for what is no pack beside one, nor for a quantity of none', () => {
  const shirt = item('li_1', 'price_shirt');
  const none = item('li_2', 'price_large', { quantity: 0 });
  expect(lines(shirt, none, item('li_3', 'price_small'))).toEqual([['li_3', 10, 100n]]);
});

it.each([
  ['no item', []],
  ['an item without a price', [item('li_1', null)]],
  ['a price that the catalog does not have', [item('li_1', 'price_shirt')]],
  ['a price whose amount the payer chooses', [item('li_1', 'price_large', { custom: true })]],
  ['a quantity of none', [item('li_1', 'price_large', { quantity: 0 })]],
  ['a quantity below none', [item('li_1', 'price_large', { quantity: -5 })]],
] as Array<[string, Item[]]>)('does not know what %s buys', (_, items) => {
  expect(bought(...items)).toBe('no_price');
});

it('does not grant more than a lot can hold', () => {
  expect(bought(item('li_1', 'price_vast', { quantity: 2 }))).toBe('too_much');
  expect(bought(item('li_1', 'price_small', { quantity: Number.MAX_SAFE_INTEGER }))).toBe('too_much');
});
