/** The catalog that comes with Tollgate: models that the gateway can reach, at the costs of the public table. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { buildCatalog } from '../../src/catalog/build.ts';
import { loadSettings, type ModelEntry } from '../../src/catalog/file.ts';
import { planImport } from '../../src/catalog/import.ts';
import { questionPrice } from '../../src/catalog/sanity.ts';
import { parseJson } from '../../src/lib/http-json.ts';

const { config, entries } = loadSettings({});
const models = entries.flatMap(({ kind, name, body }) =>
  kind === 'model' ? [{ name, entry: body as ModelEntry }] : [],
);
const providers = new Set(config.providers.map(({ name }) => name));

test('every model leads to a provider of the settings, and is served once its key is there', () => {
  expect(models.length).toBeGreaterThan(30);
  const kept = entries.map((entry) => ({ ...entry, version: 1 }));
  const built = buildCatalog(1n, kept, { providers, markup: 1_000_000n });
  expect(built.leftOut).toEqual(new Map());
  expect(built.models.size).toBe(models.length);
  for (const { entry } of models) expect(entry.routes.filter(({ provider }) => !providers.has(provider))).toEqual([]);
});

/** What makes vectors, pictures or speech has no window that its output shares. */
function writesText({ cost, price }: ModelEntry): boolean {
  const { output = 0, output_image, output_audio, input_audio } = (cost ?? price)!;
  return Number(output) > 0 && output_image === undefined && (output_audio === undefined || input_audio !== undefined);
}

test.each(models)('$name has a window if it writes text, and prices that are no slip', ({ entry }) => {
  if (writesText(entry)) expect(entry.context_window).toBeGreaterThan(entry.max_output_tokens ?? 16_384);
  expect(questionPrice(entry, null)).toMatchObject({ questions: [], warnings: [] });
});

test.each(models.filter(({ entry: { cost } }) => cost !== undefined))(
  '$name has cost, and no price beside it',
  ({ entry }) => {
    expect(entry.price).toBeUndefined();
  },
);

const file = fileURLToPath(new URL('../../../shared/prices/model_prices_and_context_window.json', import.meta.url));
const present = existsSync(file);
if (!present) console.warn(`NOT RUN: there is no price table ${file}`);

/** Whose price has changed since the table was made. */
const KNOWN = new Set(['claude-sonnet-5']);

/** Of which the table has no price that could be imported: the demo, what is free, and what it has under another provider. */
const UNPRICED = ['demo/chat', 'gpt-3.5-turbo-instruct', 'omni-moderation-latest'];

test.skipIf(!present)('costs are those of the public table', () => {
  const current = models.map(({ name, entry }) => ({ name, entry, version: 1, deleted: false }));
  const names = new Map([...providers].filter((name) => name !== 'demo').map((name) => [name, name]));
  const { planned, unchanged, kept, refused } = planImport(parseJson(readFileSync(file)), current, {
    ...{ providers: names, models: null },
  });
  const differences = planned
    .filter(({ model }) => !KNOWN.has(model))
    .flatMap(({ model, changes }) => changes.map(({ param, to }) => `${model} ${param} ${to}`))
    .filter((difference) => !difference.includes(' cost.tool:web_search '));
  expect(differences).toEqual([]);
  const priced = new Set([...planned.map(({ model }) => model), ...unchanged]);
  expect(models.map(({ name }) => name).filter((name) => !priced.has(name))).toEqual(UNPRICED);
  expect(kept).toEqual([]);
  expect(refused.filter(({ model, why }) => !UNPRICED.includes(model) && why.includes('no such model'))).toEqual([]);
});
