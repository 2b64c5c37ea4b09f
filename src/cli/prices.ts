/** `prices import`: shows what a public price table would change in the catalog, and changes it once that is confirmed. */
import { readFileSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { Pool } from 'pg';
import { modelEntry } from '../catalog/file.ts';
import { type CurrentModel, planImport } from '../catalog/import.ts';
import { latestEntries, putEntries } from '../catalog/store.ts';
import { parseJson } from '../lib/http-json.ts';
import { type Command, UsageError } from './command.ts';
import { withPool } from './database.ts';
import { describePlan } from './prices-text.ts';

/** The table has 2 MB; what is far larger is another file. */
const MOST_FILE_BYTES = 64 * 1024 * 1024;
const AUTHOR = 'prices import';

export const pricesImport: Command = {
  name: 'prices import',
  summary:
    "Shows what LiteLLM's price table (model_prices_and_context_window.json) would change in the costs of the catalog's models, and changes it when that is confirmed: with --yes, or at the terminal. A price of our own is left as it is; what has none is sold at cost × markup, and follows.",
  positional: ['FILE'],
  options: {
    provider: {
      value: 'NAMES',
      help: "only these of our providers, as a,b (else all of the settings); name=theirs where the table's litellm_provider has another name",
    },
    models: { value: 'GLOBS', help: 'only these models, as a,b*; rows of the table that match become new models' },
    yes: { help: 'apply what is shown' },
    force: { help: 'apply also prices that are questioned, such as one 1,000 times what it was' },
  },
  run: ({ positional, values, switches, json, print }) =>
    withPool(async (pool, { config }) => {
      const table = readTable(positional[0]!);
      const providers = providersOf(
        values.provider,
        // The demo is in no table.
        config.providers.filter(({ kind }) => kind !== 'demo').map(({ name }) => name),
      );
      const models = values.models === undefined ? null : listOf('models', values.models);
      const current = await currentModels(pool);
      const plan = planImport(table, current, { providers, models });
      const force = switches.has('force');
      const text = describePlan(plan, { current, providers, models, markup: config.credits.markup, force });
      const ready = plan.planned.filter(({ questions }) => force || questions.length === 0);
      let confirmed = switches.has('yes');
      const asks = !confirmed && !json && ready.length > 0 && process.stdin.isTTY;
      if (asks) {
        print(text);
        confirmed = await confirm(`Apply to ${ready.length} models? [y/N] `);
      }
      if (confirmed) {
        const entries = ready.map(({ model, version, entry }) => ({
          ...{ kind: 'model' as const, name: model, body: entry, version },
        }));
        await putEntries(pool, entries, AUTHOR);
      }
      const applied = confirmed ? ready.map(({ model }) => model) : [];
      const questioned = plan.planned.length - ready.length;
      const end = endOf(confirmed, ready.length, questioned);
      return {
        json: { ...plan, applied },
        text: [...(asks ? [] : [text]), end].join('\n'),
        failed: confirmed && questioned > 0,
      };
    }),
};

function readTable(path: string): unknown {
  try {
    if (statSync(path).size > MOST_FILE_BYTES) throw new Error(`it has more than ${MOST_FILE_BYTES} bytes`);
    return parseJson(readFileSync(path));
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Ours → the table's. Throws `UsageError` on a provider that the settings do not have. */
function providersOf(given: string | undefined, configured: readonly string[]): Map<string, string> {
  if (given === undefined) return new Map(configured.map((name) => [name, name]));
  const pairs = listOf('provider', given).map((text): [string, string] => {
    const [ours, theirs] = text.split('=', 2) as [string, string | undefined];
    if (!configured.includes(ours)) {
      throw new UsageError(`--provider: the settings have no provider "${ours}"; they have ${configured.join(', ')}`);
    }
    return [ours, theirs ?? ours];
  });
  return new Map(pairs);
}

function listOf(option: string, text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new UsageError(`--${option} has an empty name`);
  return names;
}

async function currentModels(pool: Pool): Promise<CurrentModel[]> {
  const rows = await latestEntries(pool, 'model');
  return rows.map(({ name, version, body, deleted }) => {
    const read = deleted ? null : modelEntry.safeParse(body);
    return { name, version, deleted, entry: read?.success ? read.data : null };
  });
}

function endOf(confirmed: boolean, ready: number, questioned: number): string {
  if (!confirmed && ready > 0) return 'Nothing was applied: --yes applies it.';
  const left = questioned === 0 ? '' : ` ${questioned} questioned, and left as they are: --force applies them.`;
  return (ready === 0 ? 'Nothing to apply.' : `Applied to ${ready} models.`) + left;
}

async function confirm(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(question)).trim());
  } finally {
    terminal.close();
  }
}
