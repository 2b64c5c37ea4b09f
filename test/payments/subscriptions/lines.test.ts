/** What the lines of a paid invoice grant: a table of what is billed, and properties at the edges of proportion. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { buildCatalog } from '../../../src/catalog/build.ts';
import { formatCredits, NANO_PER_CREDIT } from '../../../src/lib/money.ts';
import { grantsOf, type InvoiceFacts, type LineFacts, type PriceFacts } from '../../../src/payments/sync/lines.ts';

const utc = (text: string): Date => new Date(`${text}T00:00:00Z`);
const JAN = { start: utc('2026-01-01'), end: utc('2026-02-01') };
const YEAR = { start: utc('2026-01-31'), end: utc('2027-01-31') };
const minor = (amount: number): bigint => BigInt(amount);

const catalog = buildCatalog(
  1n,
  [
    plan('pro', { credits: '10000', every: 'month' }),
    plan('max', { credits: '50000', every: 'month' }),
    plan('kept', { credits: '10000', every: 'month', rollover: 'all' }),
    plan('period', { credits: '10000', every: 'period' }),
    plan('once', { credits: '10000', every: 'once' }),
    plan('tried', { credits: '10000', every: 'month', trial: '100' }),
    plan('plain', undefined),
    {
      kind: 'pack',
      name: 'starter',
      version: 1,
      body: { credits: '500', bonus_credits: '50', stripe_price: 'pack', expires_days: 10 },
    },
  ],
  { providers: new Set(), markup: 1_000_000n },
);
function plan(name: string, included_credits: object | undefined) {
  const body = { models: ['*'], stripe_prices: [`${name}_month`, `${name}_year`], included_credits };
  return { kind: 'plan', name, version: 1, body };
}

const SCALE = 1_000_000_000_000n;
const price = (unit: number | null, every: PriceFacts['every'] = { unit: 'month', count: 1 }): PriceFacts => ({
  unitAmount: unit === null ? null : minor(unit) * SCALE,
  unitsPerCharge: 1n,
  roundsUp: false,
  every,
  isMetered: false,
});
const yearly = (unit: number) => price(unit, { unit: 'year', count: 1 });

let made = 0;
function line(of: string, amount: number, more: Partial<LineFacts> = {}): LineFacts {
  made += 1;
  const asked = minor(amount);
  return {
    id: `il_${made}`,
    amount: asked,
    asked,
    price: of,
    quantity: 1n,
    isProration: false,
    isCredit: amount < 0,
    credits: null,
    isTakenThere: false,
    ...JAN,
    ...more,
  };
}
const part = (of: string, amount: number, more: Partial<LineFacts> = {}) =>
  line(of, amount, { isProration: true, ...more });

function granted(lines: LineFacts[], prices: Record<string, PriceFacts>, more: Partial<InvoiceFacts> = {}) {
  const facts = { paidAt: utc('2026-01-01'), lines, isDiscounted: false, isChange: false, ...more };
  return grantsOf(facts, (id) => catalog.sold.get(id), new Map(Object.entries(prices)));
}
/** Credits, and when they start (where not at once) and end. */
function told(...args: Parameters<typeof granted>): string[] {
  const day = (at: Date | null): string => at?.toISOString().slice(0, 10) ?? '';
  return granted(...args).grants.map(({ credits, startsAt, expiresAt }) =>
    `${formatCredits(credits)} ${day(startsAt)}..${day(expiresAt)}`.replace(' ..', ' to '),
  );
}

test('a month grants what the plan includes, times the quantity, until it ends', () => {
  const prices = { pro_month: price(2000) };
  expect(told([line('pro_month', 2000)], prices)).toEqual(['10000 to 2026-02-01']);
  expect(told([line('pro_month', 6000, { quantity: 3n })], prices)).toEqual(['30000 to 2026-02-01']);
  expect(granted([line('pro_month', 2000)], prices).grants[0]).toMatchObject({ kind: 11, paid: 2000n });
});

test('what ends with a period that may be renewed lasts until that can have been paid; months of a year follow at once', () => {
  const ends = (...args: Parameters<typeof granted>) =>
    granted(...args).grants.map(({ expiresAt }) => expiresAt?.toISOString());
  expect(ends([line('pro_month', 2000)], { pro_month: price(2000) })).toEqual(['2026-02-01T06:00:00.000Z']);
  const year = ends([line('pro_year', 20_000, YEAR)], { pro_year: yearly(20_000) }, { paidAt: YEAR.start });
  expect([year.length, year[0], year.at(-1)]).toEqual([12, '2026-02-28T00:00:00.000Z', '2027-01-31T06:00:00.000Z']);
});

test.each<[string, LineFacts, PriceFacts, string[]]>([
  ['a price of 0 gives all', line('pro_month', 0), price(0), ['10000 to 2026-02-01']],
  [
    'a promotion code for all of it gives all, of one unit',
    line('pro_month', 20_000, { quantity: 10n, asked: 0n }),
    price(2000),
    ['10000 to 2026-02-01'],
  ],
  ['a trial gives nothing', line('pro_month', 0), price(2000), []],
  [
    'a trial gives what the plan includes in trials, whatever is tried',
    line('tried_month', 0, { quantity: 2n }),
    price(2000),
    ['100 to 2026-02-01'],
  ],
  ['a part of a period gives its part', line('pro_month', 500), price(2000), ['2500 to 2026-02-01']],
  ['more than the price gives no more', line('pro_month', 2500), price(2000), ['10000 to 2026-02-01']],
  [
    'a rounded minor unit is none that is missing',
    line('pro_month', 0),
    { ...price(0), unitAmount: SCALE / 3n },
    ['10000 to 2026-02-01'],
  ],
  ['a price by tiers gives all', line('pro_month', 7), price(null), ['10000 to 2026-02-01']],
  [
    'units that are charged in packages',
    line('pro_month', 2000, { quantity: 7n }),
    { ...price(1000), unitsPerCharge: 5n, roundsUp: true },
    ['70000 to 2026-02-01'],
  ],
  ['metered use gives nothing', line('pro_month', 900, { quantity: 90n }), { ...price(10), isMetered: true }, []],
  ['a plan that includes nothing gives nothing', line('plain_month', 2000), price(2000), []],
  ['what rolls over does not end', line('kept_month', 2000), price(2000), ['10000 to ']],
  ['once: without an end', line('once_month', 2000), price(2000), ['10000 to ']],
  ['of a period: to its end', line('period_year', 2000, YEAR), yearly(2000), ['10000 to 2027-01-31']],
])('%s', (_, one, at, expected) => {
  expect(told([one], { [one.price!]: at })).toEqual(expected);
});

test('a year grants a month at a time, from the 31st to the last of shorter months', () => {
  const prices = { pro_year: yearly(20_000) };
  const all = told([line('pro_year', 20_000, YEAR)], prices, { paidAt: YEAR.start });
  expect(all).toHaveLength(12);
  expect(all.slice(0, 4)).toEqual([
    '10000 to 2026-02-28',
    '10000 2026-02-28..2026-03-31',
    '10000 2026-03-31..2026-04-30',
    '10000 2026-04-30..2026-05-31',
  ]);
  expect(all.at(-1)).toBe('10000 2026-12-31..2027-01-31');
  const { grants } = granted([line('pro_year', 20_000, { ...YEAR, id: 'il' })], prices, { paidAt: YEAR.start });
  expect(grants.slice(0, 3).map(({ line: name, paid }) => [name, paid])).toEqual([
    ['il', 20_000n],
    ['il:1', null],
    ['il:2', null],
  ]);
});

test('a month that is anchored on a 31st is one period, however long', () => {
  const february = { start: utc('2026-02-28'), end: utc('2026-03-31') };
  expect(told([line('pro_month', 2000, february)], { pro_month: price(2000) })).toEqual(['10000 to 2026-03-31']);
});

test('a year that is paid months late grants what it missed at once; a month that is paid when it is over lasts as long from then', () => {
  const late = told([line('pro_year', 20_000, YEAR)], { pro_year: yearly(20_000) }, { paidAt: utc('2026-04-05') });
  expect(late).toHaveLength(10);
  expect(late.slice(0, 2)).toEqual(['30000 to 2026-04-30', '10000 2026-04-30..2026-05-31']);
  expect(told([line('pro_month', 2000)], { pro_month: price(2000) }, { paidAt: utc('2026-02-10') })).toEqual([
    '10000 to 2026-03-13',
  ]);
});

test('an upgrade adds the difference for the rest of the period, a downgrade takes nothing', () => {
  const prices = { pro_month: price(2000), max_month: price(8000) };
  const half = { start: utc('2026-01-16') };
  expect(told([part('pro_month', -1000, half), part('max_month', 4000, half)], prices)).toEqual([
    '20000 to 2026-02-01',
  ]);
  expect(told([part('max_month', -4000, half), part('pro_month', 1000, half)], prices)).toEqual([]);
});

test('more seats add theirs, fewer take none, and both at once net out', () => {
  const prices = { pro_month: price(2000) };
  expect(told([part('pro_month', -1000), part('pro_month', 3000, { quantity: 3n })], prices)).toEqual([
    '10000 to 2026-02-01',
  ]);
  expect(told([part('pro_month', -3000, { quantity: 3n }), part('pro_month', 1000)], prices)).toEqual([]);
  const back = [part('pro_month', -3000, { quantity: 3n }), part('pro_month', 3000, { quantity: 3n })];
  expect(told([part('pro_month', -1000), ...back, part('pro_month', 2000, { quantity: 2n })], prices)).toEqual([
    '5000 to 2026-02-01',
  ]);
});

test('changes that are paid with the next period last as long as that', () => {
  const next = { start: utc('2026-02-01'), end: utc('2026-03-01') };
  const lines = [part('pro_month', -1000), part('max_month', 4000), line('max_month', 8000, next)];
  expect(told(lines, { pro_month: price(2000), max_month: price(8000) }, { paidAt: utc('2026-02-01') }).sort()).toEqual(
    ['20000 to 2026-03-01', '50000 to 2026-03-01'],
  );
});

test('a downgrade that is billed with the next period leaves that whole', () => {
  const next = { start: utc('2026-02-01'), end: utc('2026-03-01') };
  const lines = [part('max_month', -4000), part('pro_month', 1000), line('pro_month', 2000, next)];
  expect(told(lines, { pro_month: price(2000), max_month: price(8000) }, { paidAt: utc('2026-02-01') })).toEqual([
    '10000 to 2026-03-01',
  ]);
});

test('months that become a year give back what is left of the month', () => {
  const lines = [
    part('pro_month', -1000, { start: utc('2026-01-16') }),
    line('pro_year', 20_000, { start: utc('2026-01-16'), end: utc('2027-01-16') }),
  ];
  const all = told(
    lines,
    { pro_month: price(2000), pro_year: yearly(20_000) },
    { isChange: true, paidAt: utc('2026-01-16') },
  );
  expect(all).toHaveLength(12);
  expect(all[0]).toBe('5000 to 2026-02-16');
  expect(all[1]).toBe('10000 2026-02-16..2026-03-16');
});

test('the rest of a year grants month by month, counted back from its end', () => {
  const rest = { start: utc('2026-11-16'), end: utc('2027-01-31') };
  const all = told([part('pro_year', 4167, rest)], { pro_year: yearly(20_000) }, { paidAt: rest.start });
  expect(all.map((one) => one.split(' ')[1]?.concat(one.split(' ')[2] ?? ''))).toEqual([
    'to2026-11-30',
    '2026-11-30..2026-12-31',
    '2026-12-31..2027-01-31',
  ]);
});

test('prorations of a discounted subscription go by time, since their amounts have the discount taken off', () => {
  const half = { start: new Date((JAN.start.getTime() + JAN.end.getTime()) / 2) };
  const lines = [part('pro_month', -500, half), part('max_month', 2000, half)];
  const prices = { pro_month: price(2000), max_month: price(8000) };
  expect(told(lines, prices, { isDiscounted: true })).toEqual(['20000 to 2026-02-01']);
  const free = [part('pro_month', 0, { ...half, isCredit: true }), part('max_month', 0, half)];
  expect(told(free, prices, { isDiscounted: true })).toEqual(['20000 to 2026-02-01']);
});

test('a change that asks for nothing grants nothing, but what comes once', () => {
  const half = { start: utc('2026-01-16') };
  const prices = { pro_month: price(2000), max_month: price(8000), once_month: price(2000), pro_year: yearly(20_000) };
  const change = { isDiscounted: true, isChange: true, paidAt: half.start };
  const back = part('pro_month', 0, { ...half, isCredit: true });
  expect(told([back, part('max_month', 0, half)], prices, change)).toEqual([]);
  expect(told([back, line('pro_year', 20_000, { ...YEAR, asked: 0n })], prices, change)).toEqual([]);
  expect(told([line('once_month', 2000, { asked: 0n })], prices, change)).toEqual(['10000 to ']);
  expect(told([part('pro_month', 0, half)], { pro_month: price(0) }, change)).toEqual([]);
});

test('a pack on an invoice is a top-up, with its bonus and its own expiry', () => {
  const { grants } = granted([line('pack', 1000, { id: 'il', quantity: 2n })], { pack: price(500, null) });
  expect(grants).toMatchObject([
    { line: 'il', kind: 10, credits: 1000n * NANO_PER_CREDIT, paid: 1000n, expiresAt: utc('2026-01-11') },
    { line: 'il:bonus', kind: 12, credits: 100n * NANO_PER_CREDIT, paid: null },
  ]);
});

test('an invoice is known by any of its lines, and one of other things is not', () => {
  expect(granted([line('hosting', 900), line('pro_month', 2000)], { pro_month: price(2000) })).toMatchObject({
    isKnown: true,
    grants: [{}],
  });
  expect(granted([line('hosting', 900)], {})).toEqual({ isKnown: false, grants: [] });
});

test('granted = what is included × quantity × share of the price, rounded down; never more than the whole; split without loss', () => {
  const amounts = fc.record({
    unit: fc.bigInt(1n, 10n ** 7n),
    quantity: fc.bigInt(1n, 1000n),
    asked: fc.bigInt(1n, 10n ** 10n),
    year: fc.boolean(),
  });
  fc.assert(
    fc.property(amounts, ({ unit, quantity, asked, year }) => {
      const one = part(year ? 'pro_year' : 'pro_month', 0, { amount: asked, asked, quantity, ...(year ? YEAR : JAN) });
      const at = { ...(year ? yearly(0) : price(0)), unitAmount: unit * SCALE };
      const sum = granted([one], { [one.price!]: at }, { paidAt: one.start }).grants.reduce(
        (all, { credits }) => all + credits,
        0n,
      );
      const most = 10_000n * NANO_PER_CREDIT * quantity * (year ? 12n : 1n);
      const whole = unit * quantity;
      expect(sum).toBe(asked >= whole ? most : (most * asked) / whole);
    }),
  );
});

test('any prorations of one price: what is charged less what is given back, never below 0', () => {
  const some = fc.array(fc.integer({ min: -2000, max: 2000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(some, (amounts) => {
      const { grants } = granted(
        amounts.map((amount) => part('pro_month', amount)),
        { pro_month: price(2000) },
      );
      const sum = grants.reduce((all, { credits }) => all + credits, 0n);
      const net = amounts.reduce((all, amount) => all + amount, 0);
      expect(sum).toBe(net > 0 ? (10_000n * NANO_PER_CREDIT * minor(net)) / 2000n : 0n);
    }),
  );
});
