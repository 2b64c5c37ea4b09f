/** `serve`, `migrate`, `catalog apply`, `ledger verify`, `ledger rebuild`. */
import { resolve } from 'node:path';
import { applyCatalog } from '../catalog/apply.ts';
import { readCatalogFile } from '../catalog/file.ts';
import { migrate as migrateDatabase } from '../db/migrate.ts';
import type { AuditOptions } from '../ledger/audit/index.ts';
import { type PresentedDifference, presentRebuilding, presentVerification } from '../ledger/audit/present.ts';
import { systemClock } from '../lib/clock.ts';
import { rebuildBooks, verifyBooks } from '../metering/usage-audit.ts';
import type { Command } from './command.ts';
import { withDatabase, withPool } from './database.ts';

export const serve: Command = {
  name: 'serve',
  summary: 'Runs the gateway until it is told to stop (Ctrl-C). Logs are lines of JSON; --json prints nothing else.',
  positional: [],
  options: {},
  run: async ({ json, print }) => {
    // Loaded here alone: the other commands start faster without the data plane.
    const { serve: run } = await import('../server.ts');
    const status = await run(json ? () => {} : print);
    return { json: null, text: null, failed: status !== 0 };
  },
};

export const migrate: Command = {
  name: 'migrate',
  summary: 'Brings the database to the schema of this release. The gateway does so by itself when it starts.',
  positional: [],
  options: {},
  run: () =>
    withDatabase(async ({ config, url, log }) => {
      const json = await migrateDatabase(config.databaseMigrateUrl?.reveal() ?? url, log);
      const text =
        json.applied.length === 0 ? 'Nothing to do.' : json.applied.map((name) => `Applied ${name}.`).join('\n');
      return { json, text };
    }),
};

export const catalogApply: Command = {
  name: 'catalog apply',
  summary: 'Applies a catalog file: what changed in it becomes a new version, effective at the next request.',
  positional: ['FILE'],
  options: {
    force: { help: 'also entries that were changed through the admin API since' },
    prune: { help: 'also delete what the file does not have' },
  },
  run: ({ positional, switches }) =>
    withPool(async (pool, { config }) => {
      const entries = readCatalogFile(resolve(positional[0]!), config.env);
      const options = { force: switches.has('force'), prune: switches.has('prune') };
      const json = await applyCatalog(pool, entries, options);
      const list = (what: string, labels: string[]) => labels.map((label) => `${what}: ${label}`);
      const text = [
        ...list('applied', json.applied),
        ...list('pruned', json.pruned),
        ...list('skipped, changed through the admin API (--force overrides)', json.skipped),
        ...json.questions.map(({ entry, param, message }) => `is this meant? ${entry}: ${param}: ${message}`),
        `${json.unchanged.length} unchanged`,
      ].join('\n');
      return { json, text };
    }),
};

export const ledgerVerify: Command = {
  name: 'ledger verify',
  summary:
    'Proves the ledger, beside a running gateway: every balance equals its entries, and the usage of each account what it was charged. Names each row that differs; exit status 1 when one does.',
  positional: [],
  options: {},
  run: ({ progress }) =>
    withPool(async (pool) => {
      const json = presentVerification(await verifyBooks(pool, { progress: atMostOnceASecond(progress, 'verified') }));
      const end = `${json.ok ? 'ok' : `NOT OK, ${json.differences.length} differences`}: ${json.entries} entries, ${json.accounts} accounts`;
      return { json, text: [...json.differences.map(lineOf), end].join('\n'), failed: !json.ok };
    }),
};

export const ledgerRebuild: Command = {
  name: 'ledger rebuild',
  summary:
    'Recreates balances, lots, held amounts and usage from the entries where they differ, beside a running gateway. An account whose entries do not hold together is left as it is: exit status 1.',
  positional: [],
  options: {
    'dry-run': { help: 'say what would change, and change nothing' },
    'trust-amounts': {
      help: 'also accounts whose running balance has a break: take the amounts of their entries as they are',
    },
  },
  run: ({ switches, progress }) =>
    withPool(async (pool) => {
      const dryRun = switches.has('dry-run');
      const trustAmounts = switches.has('trust-amounts');
      const done = await rebuildBooks(pool, {
        dryRun,
        trustAmounts,
        progress: atMostOnceASecond(progress, 'looked at'),
      });
      const json = { ...presentRebuilding(done), usage_rebuilt: done.usageRebuilt };
      const { changed, broken } = json;
      const text = [
        ...changed.map((change) => `${dryRun ? 'would change' : 'changed'} ${lineOf(change)}`),
        ...broken.map((difference) => `does not hold together: ${lineOf(difference)}`),
        `${json.rebuilt} accounts ${dryRun ? 'to rebuild' : 'rebuilt'}, of ${json.accounts} with ${json.entries} entries; the usage of ${json.usage_rebuilt}`,
      ].join('\n');
      return { json, text, failed: broken.length > 0 || (dryRun && changed.length > 0) };
    }),
};

const lineOf = ({ account_id, subject, expected, found }: PresentedDifference): string =>
  `${account_id}: ${subject}: expected ${expected}, found ${found}`;

/** Says how far an audit is, so that whoever watches sees that it goes on. */
function atMostOnceASecond(progress: (text: string) => void, done: string): NonNullable<AuditOptions['progress']> {
  let next = systemClock.now() + 1_000;
  return ({ accounts, entries }) => {
    if (systemClock.now() < next) return;
    next = systemClock.now() + 1_000;
    progress(`${accounts} accounts, ${entries} entries ${done}`);
  };
}
