import { expect, test } from 'vitest';
import { readCatalogFile } from '../../src/catalog/file.ts';
import { catalogSource } from '../../src/config.ts';
import { environment, faultsOf } from '../config/support.ts';

function read(yaml: string, more: Record<string, string> = {}) {
  const { catalogPath, env } = catalogSource(environment('', more, yaml));
  return readCatalogFile(catalogPath, env);
}

const route = 'routes: [{ provider: demo, model: m }]';

test('the entries of the contract are read: models, operations, plans, packs', () => {
  const entries = read(`
models:
  gpt-4o-mini:
    routes: [{ provider: openai, model: gpt-4o-mini, weight: 2, cost: { input: 0.14 } }]
    max_output_tokens: 16384
    context_window: 128000
    on_disconnect: abort
    cost:  { input: 0.15, cached_input: 0.075, output: 0.60 }
    price: { input: 0.20, cached_input: 0.10, output: 0.80 }
operations:
  video: { credits: 100, feature: video_generation }
plans:
  free: { default: true, models: ["demo/*"], features: [], limits: { rpm: 600, tpm: 400000, concurrency: 50 } }
  pro:  { stripe_prices: [price_123], included_credits: { credits: 10000, every: month, rollover: none }, grace_days: 3, models: ["gpt-*"], features: [image_generation], limits: { rpm: 600, seats: 10 } }
packs:
  starter: { price: { usd: 10.00, eur: 9.50 }, credits: 10000, bonus_credits: 0, expires_days: 365 }
`);
  expect(entries.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'model gpt-4o-mini',
    'operation video',
    'plan free',
    'plan pro',
    'pack starter',
  ]);
  expect(entries[0]!.body).toEqual({
    routes: [{ provider: 'openai', model: 'gpt-4o-mini', weight: 2, cost: { input: '0.14' } }],
    max_output_tokens: 16_384,
    context_window: 128_000,
    on_disconnect: 'abort',
    cost: { input: '0.15', cached_input: '0.075', output: '0.60' },
    price: { input: '0.20', cached_input: '0.10', output: '0.80' },
  });
  expect(entries[4]!.body).toMatchObject({ price: { usd: '10.00', eur: '9.50' }, credits: '10000' });
});

test('prices and names are read as they were written, never through a float', () => {
  const prices = '{ input: 0.100000000000, output: 12345.678901234567 }';
  const [entry] = read(`models: { 1.10: { routes: [{ provider: p, model: 1.10 }], price: ${prices} } }`);
  expect(entry?.name).toBe('1.10');
  expect(entry?.body).toEqual({
    routes: [{ provider: 'p', model: '1.10' }],
    price: { input: '0.100000000000', output: '12345.678901234567' },
  });
});

test('variables are filled in, also in prices; one that is not set counts as not given', () => {
  const yaml = `models: { m: { ${route}, price: { input: "\${IN}", output: "\${OUT}" } } }`;
  expect(read(yaml, { IN: '0.5' })[0]!.body).toMatchObject({ price: { input: '0.5' } });
});

test('an empty file is an empty catalog', () => {
  expect(read('')).toEqual([]);
});

test('all faults are reported at once, each with its path', () => {
  const faults = faultsOf(() =>
    read(`
models:
  a: { routes: [{ provider: demo, model: x, wieght: 1 }], price: { input: 1e3, output: -1, cached_input: 0.0000000000001 } }
  b: { routes: [], on_disconnect: maybe }
  c: 5
  d: { ${route}, price: {} }
  e: { routes: [{ provider: demo, model: "\${NOPE}" }], cost: { request: 1 }, max_output_tokens: 1.5 }
plans: { x: { default: true }, y: { default: true }, z: { limits: { rpm: -1 } } }
packs: { p: { price: { dollars: 1 } } }
modles: {}
`),
  );
  expect(Object.keys(faults).sort()).toEqual([
    'catalog.yaml.models.a.price.cached_input',
    'catalog.yaml.models.a.price.input',
    'catalog.yaml.models.a.price.output',
    'catalog.yaml.models.a.routes.0.wieght',
    'catalog.yaml.models.b.on_disconnect',
    'catalog.yaml.models.b.price',
    'catalog.yaml.models.b.routes',
    'catalog.yaml.models.c',
    'catalog.yaml.models.d.price',
    'catalog.yaml.models.e.max_output_tokens',
    'catalog.yaml.models.e.routes.0.model',
    'catalog.yaml.modles',
    'catalog.yaml.packs.p.credits',
    'catalog.yaml.packs.p.price.dollars',
    'catalog.yaml.plans.y.default',
    'catalog.yaml.plans.z.limits.rpm',
  ]);
});

test('only one plan can be the default', () => {
  const yaml = 'plans: { x: { default: true }, y: { default: true }, z: { default: true } }';
  expect(faultsOf(() => read(yaml))).toEqual({
    'catalog.yaml.plans.y.default': 'only one plan can be the default, and "x" is',
    'catalog.yaml.plans.z.default': 'only one plan can be the default, and "x" is',
  });
});

test.each(['inptu', 'tool:', 'tool:Web Search', 'second', 'above_input_token'])(
  'a price for %s, which is no unit, is refused and not ignored',
  (unit) => {
    const faults = faultsOf(() => read(`models: { m: { ${route}, price: { input: 1, "${unit}": 1 } } }`));
    expect(faults).toEqual({ [`catalog.yaml.models.m.price.${unit}`]: expect.stringContaining('cannot meter') });
  },
);

test('a price has tiers, service tiers, pictures by size and quality, seconds, characters, and calls of tools', () => {
  const price = `{ input: 1, output: 2, second_input: 0.0001, character: 15, request: 0.001, "tool:web_search": 0.01,
    tiers: [{ above_input_tokens: 200000, input: 2, output: 3 }], service_tiers: { flex: 0.5, priority: 2.0 },
    image: { "1024x1024": { low: 0.011, high: 0.167 }, default: 0.167 } }`;
  expect(read(`models: { m: { ${route}, price: ${price} } }`)[0]!.body).toMatchObject({
    price: {
      ...{ 'tool:web_search': '0.01', tiers: [{ above_input_tokens: 200_000, input: '2', output: '3' }] },
      image: { '1024x1024': { low: '0.011', high: '0.167' }, default: '0.167' },
      service_tiers: { flex: '0.5', priority: '2.0' },
    },
  });
});

test.each([
  ['tiers: [{ input: 1 }]', 'tiers.0.above_input_tokens'],
  ['tiers: [{ above_input_tokens: 5, inptu: 1 }]', 'tiers.0.inptu'],
  ['tiers: [{ above_input_tokens: 5, input: 1 }, { above_input_tokens: 5, input: 2 }]', 'tiers'],
  ['service_tiers: { flex: 0 }', 'service_tiers.flex'],
  ['image: { "1024x1024": { low: -1 } }', 'image.1024x1024.low'],
  ['tiers: 1', 'tiers'],
])('%s is refused, with its path', (part, path) => {
  const faults = faultsOf(() => read(`models: { m: { ${route}, price: { input: 1, ${part} } } }`));
  expect(Object.keys(faults)).toEqual([`catalog.yaml.models.m.price.${path}`]);
});

test('0 is a price; no price and no cost is a fault', () => {
  expect(read(`models: { m: { ${route}, price: { input: 0 } } }`)).toHaveLength(1);
  expect(faultsOf(() => read(`models: { m: { ${route} } }`))).toEqual({
    'catalog.yaml.models.m.price': 'needs a price or a cost: a model without one is never served',
  });
});

test('a catalog that is not there, or is no file, is a fault that names it', () => {
  const none = () => undefined;
  expect(faultsOf(() => readCatalogFile('/nowhere/c.yaml', none))).toEqual({
    '/nowhere/c.yaml': 'there is no such file',
  });
  expect(faultsOf(() => readCatalogFile('/', none))).toEqual({ '/': 'cannot be read: EISDIR' });
});

test('a price of Stripe in two plans or packs is a fault, named where it stands the second time', () => {
  const faults = faultsOf(() =>
    read(`
plans:
  pro: { stripe_prices: [price_1, price_2] }
  max: { stripe_prices: [price_2] }
packs:
  starter: { credits: 10, stripe_price: price_1 }
`),
  );
  expect(faults).toEqual({
    'catalog.yaml.plans.max.stripe_prices.0': '"price_2" buys the plan "pro" already: a price buys one thing',
    'catalog.yaml.packs.starter.stripe_price': '"price_1" buys the plan "pro" already: a price buys one thing',
  });
});
