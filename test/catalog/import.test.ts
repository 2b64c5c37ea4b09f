/** An import changes the costs that the table states, and nothing else; what it would do is shown whole before. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type ModelEntry, modelEntry } from '../../src/catalog/file.ts';
import { type CurrentModel, type ImportOptions, planImport } from '../../src/catalog/import.ts';
import { parseJson } from '../../src/lib/http-json.ts';

const TABLE = parseJson(
  Buffer.from(`{
    "sample_spec": {"litellm_provider": "one of them", "input_cost_per_token": 0.0},
    "big": {"litellm_provider": "one", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06,
      "cache_read_input_token_cost": 5e-07, "input_cost_per_token_above_200k_tokens": 4e-06,
      "input_cost_per_token_flex": 1e-06, "output_cost_per_token_flex": 4e-06, "cache_read_input_token_cost_flex": 2.5e-07,
      "max_input_tokens": 1000000, "max_output_tokens": 32000, "supports_reasoning": true},
    "two/big": {"litellm_provider": "two", "input_cost_per_token": 3e-06, "output_cost_per_token": 9e-06},
    "two/small": {"litellm_provider": "two", "input_cost_per_token": 1e-07, "output_cost_per_token": 4e-07},
    "small": {"litellm_provider": "two", "input_cost_per_token": 9e-07, "output_cost_per_token": 9e-07},
    "two/video": {"litellm_provider": "two", "output_cost_per_video_per_second": 0.1},
    "drawing": {"litellm_provider": "one", "output_cost_per_image": 0.04, "mode": "image_generation"},
    "other": {"litellm_provider": "three", "input_cost_per_token": 1e-06},
    "low/1024-x-1024/picture": {"litellm_provider": "one", "input_cost_per_image": 0.01, "mode": "image_generation"},
    "picture": {"litellm_provider": "one", "input_cost_per_image": 0.04, "mode": "image_generation"}
  }`),
);

const BIG_COST = {
  ...{ input: '2', output: '8', cached_input: '0.5' },
  tiers: [{ above_input_tokens: 200_000, input: '4' }],
  service_tiers: { flex: '0.5' },
};

const current = (name: string, entry: object, version = 3): CurrentModel => ({
  name,
  version,
  deleted: false,
  entry: modelEntry.parse(entry) as ModelEntry,
});
const routed = (to: string, rest: object) => ({
  routes: to.split(',').map((route) => ({ provider: route.split(':')[0], model: route.split(':')[1] })),
  ...rest,
});
const both = new Map([
  ['one', 'one'],
  ['two', 'two'],
]);
const plan = (models: CurrentModel[], options: Partial<ImportOptions> = {}) =>
  planImport(TABLE, models, { providers: both, models: null, ...options });

test('each change says what it was and what it will be; what stands in another form is no change', () => {
  const before = routed('one:big', { cost: { input: '2.50', output: '8.00' }, price: { input: '3', output: '10' } });
  const { planned, unchanged } = plan([current('m', before)]);
  expect(unchanged).toEqual([]);
  expect(planned).toEqual([
    {
      ...{ model: 'm', isNew: false, version: 3, questions: [], warnings: [] },
      changes: [
        { param: 'cost.input', from: '2.50', to: '2' },
        { param: 'cost.cached_input', from: null, to: '0.5' },
        { param: 'cost.service_tiers.flex', from: null, to: '0.5' },
        { param: 'cost.tiers.200000.input', from: null, to: '4' },
      ],
      entry: { ...before, cost: { ...BIG_COST, output: '8.00' } },
    },
  ]);
});

test('the same import again finds nothing to do', () => {
  const [first] = plan([current('m', routed('one:big', { price: { input: '3' } }))]).planned;
  expect(first!.entry).toMatchObject({ cost: BIG_COST, price: { input: '3' } });
  expect(plan([{ ...current('m', first!.entry), version: 4 }])).toEqual({
    ...{ planned: [], unchanged: ['m'], refused: [], kept: [] },
  });
});

test('what the table does not speak of stays, and is listed', () => {
  const cost = {
    ...{ input: '1', output: '8', 'tool:web_search': '0.01' },
    tiers: [{ above_input_tokens: 500_000, input: '5' }],
    service_tiers: { priority: '2' },
  };
  const { planned, kept } = plan([current('m', routed('one:big', { cost }))]);
  expect(planned[0]!.entry.cost).toEqual({
    ...{ ...BIG_COST, 'tool:web_search': '0.01' },
    tiers: [...BIG_COST.tiers, { above_input_tokens: 500_000, input: '5' }],
    service_tiers: { flex: '0.5', priority: '2' },
  });
  const params = ['cost.service_tiers.priority', 'cost.tool:web_search', 'cost.tiers.500000.input'];
  expect(kept).toEqual([{ model: 'm', params }]);
});

test('pictures that the catalog prices by size and quality stay so', () => {
  const cost = { image: { '1024x1024': { low: '0.01', high: '0.04' } } };
  expect(plan([current('m', routed('one:drawing', { cost }))])).toMatchObject({ planned: [], unchanged: ['m'] });
  expect(plan([current('m', routed('one:drawing', { cost: { image: '0.05' } }))]).planned).toMatchObject([
    { changes: [{ param: 'cost.image', from: '0.05', to: '0.04' }] },
  ]);
});

test('the entry that a plan was made from is not changed', () => {
  const model = current(
    'm',
    routed('one:big', { cost: { input: '1', tiers: [{ above_input_tokens: 200_000, input: '2' }] } }),
  );
  const before = structuredClone(model);
  expect(plan([model]).planned).toHaveLength(1);
  expect(model).toEqual(before);
});

test('the first route is the cost of the model, another one has its own where it costs otherwise', () => {
  const { planned } = plan([current('m', routed('one:big,two:big', { cost: BIG_COST }))]);
  expect(planned[0]!.changes).toEqual([
    { param: 'routes.1.cost.input', from: null, to: '3' },
    { param: 'routes.1.cost.output', from: null, to: '9' },
  ]);
  expect(planned[0]!.entry.routes[1]).toMatchObject({ cost: { input: '3', output: '9' } });
  expect(plan([current('m', routed('one:big,one:big', { cost: BIG_COST }))]).unchanged).toEqual(['m']);
});

test('a model of a provider is looked up by the name with the provider first', () => {
  const { planned } = plan([current('m', routed('two:small', { cost: { input: '1', output: '4' } }))]);
  expect(planned[0]!.entry.cost).toEqual({ input: '0.1', output: '0.4' });
});

test('a provider that the table names otherwise is found by that name; those not named are not looked at', () => {
  const models = [
    current('m', routed('mine:big', { cost: { input: '1' } })),
    current('n', routed('two:big', { cost: { input: '1' } })),
  ];
  const { planned, refused } = plan(models, { providers: new Map([['mine', 'one']]) });
  expect(planned.map(({ model }) => model)).toEqual(['m']);
  expect(refused).toEqual([]);
});

test('what the table does not have, or cannot say, is listed with the reason, and left as it is', () => {
  const { planned, unchanged, refused } = plan([
    current('m', routed('one:none', { cost: { input: '1' } })),
    current('v', routed('two:video', { cost: { input: '1' } })),
    current('p', routed('one:picture', { cost: { image: { default: '0.01' } } })),
  ]);
  expect({ planned, unchanged }).toEqual({ planned: [], unchanged: [] });
  expect(refused.map(({ model, field }) => `${model} ${field}`)).toEqual([
    'm one/none',
    'v output_cost_per_video_per_second',
    'v the price',
    'p input_cost_per_image',
    'p the price',
  ]);
});

test('only models that are named are looked at; rows that match become new ones, once', () => {
  const known = current('m', routed('one:big', { cost: { input: '1' } }));
  expect(plan([known], { models: ['x*'] }).planned).toEqual([]);
  const { planned } = plan([known], { models: ['*'] });
  expect(planned.map(({ model, isNew, version }) => [model, isNew, version])).toEqual([
    ['m', false, 3],
    ['two/big', true, 0],
    ['two/small', true, 0],
    ['drawing', true, 0],
  ]);
  expect(planned.find(({ model }) => model === 'two/big')?.entry).toEqual({
    routes: [{ provider: 'two', model: 'big' }],
    cost: { input: '3', output: '9' },
  });
  expect(plan([], { models: ['big'] }).planned[0]!.entry).toEqual({
    routes: [{ provider: 'one', model: 'big' }],
    ...{ max_output_tokens: 32_000, context_window: 1_032_000, on_disconnect: 'drain', cost: BIG_COST },
  });
});

test('a row whose name the catalog could not keep is refused', () => {
  const row = { litellm_provider: 'one', input_cost_per_token: '1e-06', output_cost_per_token: '1e-06' };
  const long = 'n'.repeat(201);
  const { planned, refused } = planImport({ [long]: row, fine: row }, [], { providers: both, models: ['*'] });
  expect(planned.map(({ model }) => model)).toEqual(['fine']);
  expect(refused).toEqual([{ model: long, field: 'the name', why: 'the name must have at most 200 bytes' }]);
});

test('a deleted model may come back as its next version; one that this release cannot read is left alone', () => {
  const gone = (deleted: boolean): CurrentModel => ({ name: 'big', version: 7, deleted, entry: null });
  expect(plan([gone(true)], { models: ['big'] }).planned).toMatchObject([{ model: 'big', version: 7, isNew: true }]);
  expect(plan([gone(false)], { models: ['big'] }).planned).toEqual([]);
});

test('a price far from what it was is questioned', () => {
  const { planned } = plan([current('m', routed('one:big', { cost: { input: '2000', output: '8' } }))]);
  expect(planned[0]!.questions).toEqual([
    { param: 'cost.input', message: expect.stringContaining('1/1000 of what it was') },
  ]);
});

test.each([[[]], [{}], ['text'], [{ big: { price: 1 } }], [null]])('%j is no price table', (table) => {
  expect(() => planImport(table, [], { providers: both, models: null })).toThrow('not the price table of LiteLLM');
});

const file = fileURLToPath(new URL('../../../shared/prices/model_prices_and_context_window.json', import.meta.url));
const present = existsSync(file);
if (!present) console.warn(`NOT RUN: there is no price table ${file}`);

test.skipIf(!present)(
  'the whole public table is read: every model is kept as the catalog would, and none is questioned',
  () => {
    const table = parseJson(readFileSync(file));
    const names = ['openai', 'anthropic', 'gemini', 'xai', 'mistral', 'deepseek', 'groq'];
    const providers = new Map(names.map((name) => [name, name]));
    const { planned } = planImport(table, [], { providers, models: ['*'] });
    expect(planned.length).toBeGreaterThan(300);
    for (const { model, entry, questions } of planned) {
      expect({ model, questions }).toEqual({ model, questions: [] });
      expect(modelEntry.parse(entry)).toEqual(entry);
    }
    const again = planned.map(({ model, entry }) => current(model, entry, 1));
    expect(planImport(table, again, { providers, models: ['*'] }).planned).toEqual([]);
  },
);
