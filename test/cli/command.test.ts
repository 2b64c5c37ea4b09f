/** How command lines are read and explained. */
import { expect, test } from 'vitest';
import { accountCreate, creditsGrant, keyCreate } from '../../src/cli/accounts.ts';
import { type Command, helpOf, readLine, UsageError } from '../../src/cli/command.ts';
import { catalogApply, ledgerVerify, migrate, serve } from '../../src/cli/operations.ts';
import { pricesImport } from '../../src/cli/prices.ts';
import { recordingsVerify } from '../../src/cli/recordings.ts';

const silent = { print: () => {}, progress: () => {} };
const read = (command: Command, ...args: string[]) => readLine(command, args, silent);

test('options have the names of the API, switches are a set, the rest is positional', () => {
  expect(read(accountCreate, '--name', 'A', '--external-id=x', '--json')).toMatchObject({
    values: { name: 'A', external_id: 'x' },
    json: true,
    positional: [],
  });
  expect(read(catalogApply, '--force', 'catalog.yaml')).toMatchObject({
    switches: new Set(['force']),
    json: false,
    positional: ['catalog.yaml'],
  });
});

test.each<[Command, string[], string]>([
  [accountCreate, [], '--name NAME is missing'],
  [accountCreate, ['--name', 'x', '--colour', 'red'], '--colour'],
  [accountCreate, ['--name', 'x', 'y'], '"y" is one argument too many'],
  [accountCreate, ['--name'], '--name'],
  [catalogApply, [], 'FILE is missing'],
  [creditsGrant, ['--account', 'acct_x', '--credits', '1'], '--reference TEXT is missing'],
  [creditsGrant, ['--account', 'acct_x', '--reference', 'r', '--credits', '-1'], '--credits'],
  [ledgerVerify, ['--force'], '--force'],
  [recordingsVerify, [], 'DIR is missing'],
])('a line that makes no sense is refused, saying why (%#)', (command, args, message) => {
  expect(() => read(command, ...args)).toThrow(UsageError);
  expect(() => read(command, ...args)).toThrow(message);
});

test.each([
  serve,
  migrate,
  catalogApply,
  pricesImport,
  accountCreate,
  keyCreate,
  creditsGrant,
  ledgerVerify,
  recordingsVerify,
])('$name explains itself, whatever else is on the line', (command) => {
  expect(read(command, '--help', '--json')).toBeNull();
  const help = helpOf(command);
  expect(help).toContain(`Usage: npx tollgate ${command.name} `);
  for (const name of [...Object.keys(command.options), 'json', 'help']) expect(help).toContain(`\n  --${name}`);
});
