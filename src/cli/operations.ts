/** `serve`, `migrate`, `catalog apply`, `ledger verify`. */
import { resolve } from 'node:path';
import { presentVerification } from '../admin/forms.ts';
import { readCatalogFile } from '../catalog/file.ts';
import { applyCatalog } from '../catalog/store.ts';
import { migrate as migrateDatabase } from '../db/migrate.ts';
import { verifyLedger } from '../ledger/verify.ts';
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
        `${json.unchanged.length} unchanged`,
      ].join('\n');
      return { json, text };
    }),
};

export const ledgerVerify: Command = {
  name: 'ledger verify',
  summary: 'Proves the ledger: every balance equals its entries. Exit status 1 when one does not.',
  positional: [],
  options: {},
  run: ({ progress }) =>
    withPool(async (pool) => {
      const json = presentVerification(
        await verifyLedger(pool, (accounts) => progress(`${accounts} accounts verified`)),
      );
      const differences = json.differences.map(
        ({ account_id, subject, expected, found }) => `${account_id}: ${subject}: expected ${expected}, found ${found}`,
      );
      const end = `${json.ok ? 'ok' : `NOT OK, ${differences.length} differences`}: ${json.entries} entries, ${json.accounts} accounts`;
      return { json, text: [...differences, end].join('\n'), failed: !json.ok };
    }),
};
