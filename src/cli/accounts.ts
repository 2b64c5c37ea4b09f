/** `account create`, `key create`, `credits grant`. */
import type { Pool } from 'pg';
import {
  type Account,
  createAccount,
  findAccount,
  findAccountByExternalId,
  requirePlan,
} from '../accounts/accounts.ts';
import { grantCredits } from '../accounts/credits.ts';
import { createKey } from '../accounts/keys.ts';
import { presentAccount, presentGrant, readNewAccount, readNewGrant } from '../admin/forms.ts';
import { presentNewKey, readNewKey } from '../admin/key-forms.ts';
import { TollgateError } from '../errors.ts';
import { stateCreditScale } from '../ledger/wallets.ts';
import { systemClock } from '../lib/clock.ts';
import { parsePublicId, publicId } from '../lib/ids.ts';
import type { Command, Option } from './command.ts';
import { withPool, withWriter } from './database.ts';

const EXTERNAL = 'ext:';
const account: Option = { value: 'ACCOUNT', required: true, help: `acct_…, or ${EXTERNAL}<external id>` };

const budget: Option = {
  value: 'CREDITS/PERIOD',
  help: 'the most it may spend a day, a month (UTC) or in total: 50/day, 1000/month, 5000/total',
};

export const accountCreate: Command = {
  name: 'account create',
  summary: 'Creates an account. The same external id again gives the account that has it.',
  positional: [],
  options: {
    name: { value: 'NAME', required: true, help: 'for people: shown in lists' },
    'external-id': { value: 'ID', help: 'its id in your own system; at most one account has it' },
    email: { value: 'EMAIL', help: 'whom to write to' },
    plan: { value: 'PLAN', help: 'a plan of the catalog; without it: the default plan' },
    overdraft: { value: 'CREDITS', help: 'how far its requests may go below 0; 0 by default' },
    budget,
  },
  run: ({ values }) =>
    withPool(async (pool, { config }) => {
      const given = readNewAccount(withBudget(values));
      await stateCreditScale(pool, BigInt(config.credits.perUsd));
      if (given.plan !== null) await requirePlan(pool, given.plan);
      const made = await createAccount(pool, systemClock, given, 'cli');
      const json = presentAccount(made.account);
      const text = [
        `${made.created ? 'Created' : 'There is already'} account ${json.id} (${json.name}).`,
        `Next: npx tollgate key create --account ${json.id}`,
      ].join('\n');
      return { json, text };
    }),
};

export const keyCreate: Command = {
  name: 'key create',
  summary: 'Creates an API key of an account, and prints it: this is the only time it can be shown.',
  positional: [],
  options: {
    account,
    name: { value: 'NAME', help: 'for people: shown in lists' },
    scopes: { value: 'SCOPES', help: 'with commas between; inference,read by default' },
    'expires-at': { value: 'TIME', help: 'such as 2030-01-31T00:00:00Z; never by default' },
    models: { value: 'GLOBS', help: 'the only models it may use, with commas between: gpt-*,demo/*' },
    'ip-ranges': { value: 'RANGES', help: 'where it may be used from, with commas between: 10.0.0.0/8,2001:db8::1' },
    budget,
  },
  run: ({ values }) =>
    withPool(async (pool) => {
      const { account: owner, ...rest } = values;
      const key = readNewKey(withLists(withBudget(rest), 'scopes', 'models', 'ip_ranges'), systemClock.now());
      const { id } = await accountNamed(pool, owner!);
      const json = presentNewKey(await createKey(pool, systemClock, id, key));
      return { json, text: `Created key ${json.id}. Keep it well, it is not shown again:\n\n  ${json.key}\n` };
    }),
};

export const creditsGrant: Command = {
  name: 'credits grant',
  summary: 'Grants credits to an account, once per reference: the same again grants nothing more.',
  positional: [],
  options: {
    account,
    credits: { value: 'CREDITS', required: true, help: 'a decimal above 0, with at most 9 decimals' },
    reference: { value: 'TEXT', required: true, help: 'names this grant, such as the number of an invoice' },
    kind: { value: 'KIND', help: 'topup (the default), subscription, bonus, promo or adjustment' },
    'expires-at': { value: 'TIME', help: 'such as 2030-01-31T00:00:00Z; never by default' },
    reason: { value: 'TEXT', help: 'for people: kept with the credits' },
  },
  run: ({ values }) =>
    withPool(async (pool, database) => {
      const { account: owner, ...grant } = values;
      const given = readNewGrant({ kind: 'topup', ...grant });
      const { id } = await accountNamed(pool, owner!);
      const creditsPerUsd = BigInt(database.config.credits.perUsd);
      const { lot, created } = await withWriter(database, (writer) =>
        grantCredits({ pool, writer, clock: systemClock, creditsPerUsd }, id, given),
      );
      const json = presentGrant(lot);
      const done = created ? 'Granted' : 'Nothing new: this reference granted before';
      return { json, text: `${done}: ${json.granted} credits to ${publicId('acct', id)}, as ${json.id}.` };
    }),
};

type Values = Record<string, string>;

/** The values as the admin API takes them: a budget in two parts. */
function withBudget({ budget: written, ...rest }: Values): Record<string, unknown> {
  if (written === undefined) return rest;
  const slash = written.lastIndexOf('/');
  return { ...rest, budget: { credits: written.slice(0, slash), period: written.slice(slash + 1) } };
}

/** The values with each of these a list, where it was given. */
function withLists(values: Record<string, unknown>, ...names: string[]): Record<string, unknown> {
  return { ...values, ...Object.fromEntries(names.flatMap((name) => listOf(name, values[name]))) };
}

function listOf(name: string, written: unknown): [string, string[]][] {
  return typeof written === 'string' ? [[name, written.split(',')]] : [];
}

/** The account that the command line names. Throws `not_found` with what to do. */
async function accountNamed(pool: Pool, name: string): Promise<Account> {
  const id = parsePublicId('acct', name);
  const found = name.startsWith(EXTERNAL)
    ? await findAccountByExternalId(pool, name.slice(EXTERNAL.length))
    : id === null
      ? null
      : await findAccount(pool, id);
  if (found !== null) return found;
  throw new TollgateError('not_found', {
    message: `There is no account "${name}". Give acct_… or ${EXTERNAL}<external id>; "npx tollgate account create" makes one.`,
  });
}
