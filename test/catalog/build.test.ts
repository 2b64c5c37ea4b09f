import { expect, test } from 'vitest';
import { buildCatalog, type KeptEntry } from '../../src/catalog/build.ts';
import { flatPrice, PRICE_DECIMALS } from '../../src/catalog/price.ts';
import { parseDecimal } from '../../src/lib/money.ts';

const route = { provider: 'on', model: 'upstream-name' };
const options = { providers: new Set(['on']), markup: 1_000_000n };

function build(entries: Omit<KeptEntry, 'version'>[], markup = options.markup) {
  const kept = entries.map((entry, i) => ({ ...entry, version: i + 1 }));
  return buildCatalog(7n, kept, { ...options, markup });
}

const yocto = (usd: string): bigint => parseDecimal(usd, PRICE_DECIMALS)!;

test('an explicit price is charged, else cost × markup, exact to the last decimal', () => {
  const cost = { input: '0.000000000001', output: '0.6' };
  const { models } = build(
    [
      { kind: 'model', name: 'priced', body: { routes: [route], cost, price: { input: '3' } } },
      { kind: 'model', name: 'marked-up', body: { routes: [route], cost } },
    ],
    1_000_001n,
  );
  expect(models.get('priced')).toMatchObject({
    price: flatPrice({ input: yocto('3') }),
    cost: flatPrice({ input: yocto('0.000000000001'), output: yocto('0.6') }),
    priceVersion: 1,
  });
  expect(models.get('marked-up')).toMatchObject({
    price: flatPrice({ input: 1_000_001_000_000n, output: yocto('0.6000006') }),
    cost: flatPrice({ input: 1_000_000_000_000n, output: yocto('0.6') }),
    priceVersion: 2,
  });
});

test('what a model does not state has its default; a model with a price for reasoning is drained', () => {
  const { models } = build([
    { kind: 'model', name: 'plain', body: { routes: [route], price: { output: '1' } } },
    { kind: 'model', name: 'thinks', body: { routes: [route], price: { output: '1', reasoning: '2' } } },
  ]);
  expect(models.get('plain')).toEqual({
    name: 'plain',
    routes: [route],
    maxOutputTokens: 16_384,
    statesMaxOutput: false,
    contextWindow: null,
    onDisconnect: 'abort',
    onUpstreamTimeout: 'free',
    whenShort: 'clamp',
    onOrphan: 'charge_metered',
    reasons: false,
    price: flatPrice({ output: yocto('1') }),
    priceSource: null,
    cost: null,
    priceVersion: 1,
  });
  expect(models.get('thinks')).toMatchObject({ onDisconnect: 'drain', reasons: true });
});

test('routes whose provider is off are passed over; a model without any other is left out, with the reason', () => {
  const off = { provider: 'off', model: 'x' };
  const { models, leftOut } = build([
    { kind: 'model', name: 'half', body: { routes: [off, route], price: { input: '1' } } },
    { kind: 'model', name: 'none', body: { routes: [off], price: { input: '1' } } },
  ]);
  expect(models.get('half')?.routes).toEqual([route]);
  expect([...models.keys()]).toEqual(['half']);
  expect([...leftOut]).toEqual([['model none', 'none of its providers is on: off']]);
});

test('an entry that a newer release wrote is left out, and takes no other with it', () => {
  const { models, plans, leftOut } = build([
    { kind: 'model', name: 'newer', body: { routes: [route], price: { input: '1', hologram: '2' } } },
    { kind: 'plan', name: 'newer', body: { models: ['*'], unheard_of: true } },
    { kind: 'model', name: 'fine', body: { routes: [route], price: { input: '1' } } },
  ]);
  expect([...models.keys(), ...plans.keys()]).toEqual(['fine']);
  expect([...leftOut.keys()]).toEqual(['model newer', 'plan newer']);
});

test('models are listed by name', () => {
  const body = { routes: [route], price: { input: '1' } };
  const { models } = build(['b', 'a', 'C'].map((name) => ({ kind: 'model', name, body })));
  expect([...models.keys()]).toEqual(['C', 'a', 'b']);
});

test('of several default plans the one written last is the default; without one there is none', () => {
  const plan = (name: string, isDefault: boolean) => ({ kind: 'plan', name, body: { default: isDefault, models: [] } });
  expect(build([plan('old', true), plan('new', true), plan('other', false)]).defaultPlan?.name).toBe('new');
  expect(build([plan('other', false)]).defaultPlan).toBeNull();
});

test.each([
  ['demo/*', 'demo/chat', true],
  ['demo/*', 'demo/', true],
  ['demo/*', 'demos/chat', false],
  ['demo/*', 'a demo/chat', false],
  ['gpt-4.1', 'gpt-4.1', true],
  ['gpt-4.1', 'gpt-4x1', false],
  ['gpt-4.1', 'gpt-4.1-mini', false],
  ['*', 'anything\nat all', true],
  ['*-mini', 'gpt-4.1-mini', true],
  ['a*b*c', 'a/b/c', true],
  ['a*b*c', 'a/c/b', false],
  ['[a]+', 'a', false],
  ['[a]+', '[a]+', true],
  ['', 'a', false],
])('the glob %j allows %j: %s', (glob, name, allowed) => {
  const models = glob === '' ? [] : ['never', glob];
  const { plans } = build([{ kind: 'plan', name: 'p', body: { models } }]);
  expect(plans.get('p')?.allowsModel(name)).toBe(allowed);
});

test('a price of Stripe buys one thing: of two that have it, the one that was written first', () => {
  const plan = (name: string, prices: string[]) => ({
    kind: 'plan',
    name,
    body: { models: ['*'], stripe_prices: prices },
  });
  const { sold, leftOut, plans } = build([
    plan('pro', ['price_month', 'price_year']),
    plan('max', ['price_max', 'price_year']),
    { kind: 'pack', name: 'starter', body: { credits: '10', stripe_price: 'price_month' } },
    { kind: 'pack', name: 'big', body: { credits: '10', stripe_price: 'price_big' } },
  ]);
  const owners = [...sold].map(([price, what]) => [price, what.kind === 'plan' ? what.plan.name : what.pack.name]);
  expect(Object.fromEntries(owners)).toEqual({
    price_month: 'pro',
    price_year: 'pro',
    price_max: 'max',
    price_big: 'big',
  });
  expect([...leftOut.keys()]).toEqual(['price_year of the plan "max"', 'price_month of the pack "starter"']);
  expect(plans.get('max')).toMatchObject({ stripePrices: ['price_max', 'price_year'], graceDays: 0 });
});
