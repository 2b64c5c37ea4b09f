/** Who limits a request: its account, its key, and its account's use of a group of models. */
import type { Principal } from '../../accounts/principals.ts';
import { publicId } from '../../lib/ids.ts';
import type { Access } from '../types.ts';
import type { Kind, Subject } from './limiter.ts';

/** What limits are called where they are set. */
const NAMES: Readonly<Record<Kind, string>> = { requests: 'rpm', tokens: 'tpm', concurrency: 'concurrency' };

/** A subject, and what it is of for those who look at it. */
export interface NamedSubject extends Subject {
  kind: 'account' | 'key' | 'models';
  /** `acct_…`, `key_…`, or the glob of the models. */
  id: string;
}

type Limits = Subject['limits'];
type Whose = Pick<Principal, 'account' | 'key' | 'keyLimits'>;

/** By access, which is of one principal, and model. */
const MADE = new WeakMap<Access, Map<string, readonly NamedSubject[]>>();

/** Those that limit a principal's request for a model that it may use: often none. They are made once. */
export function subjectsOf(access: Access, principal: Whose, model: string): readonly NamedSubject[] {
  let byModel = MADE.get(access);
  if (byModel === undefined) {
    byModel = new Map();
    MADE.set(access, byModel);
  }
  let subjects = byModel.get(model);
  if (subjects === undefined) {
    subjects = [...ownSubjects(access, principal), ...modelSubjects(access, principal, model)].filter(isLimited);
    byModel.set(model, subjects);
  }
  return subjects;
}

/** The account and the key, whether or not they are limited. */
export function ownSubjects(access: Access, { account, key, keyLimits }: Whose): NamedSubject[] {
  const [acct, id] = [publicId('acct', account), publicId('key', key)];
  return [
    {
      key: `{${acct}}`,
      kind: 'account',
      id: acct,
      whose: 'this account',
      limits: limits((name) => access.limit(name).value),
    },
    {
      key: `{${acct}}:${id}`,
      kind: 'key',
      id,
      whose: 'this API key',
      limits: limits((name) => keyLimits?.[name] ?? null),
    },
  ];
}

/** The groups of models by which the account's use of a model is limited: one for each kind at most. */
export function modelSubjects(access: Access, { account }: Whose, model: string): NamedSubject[] {
  const acct = publicId('acct', account);
  const said = new Map(Object.values(NAMES).map((name) => [name, access.modelLimit(name, model)]));
  const globs = new Set(
    [...said.values()].flatMap(({ glob, value }) => (glob === null || value === null ? [] : [glob])),
  );
  return [...globs].map((glob) => ({
    key: `{${acct}}:models:${glob}`,
    kind: 'models',
    id: glob,
    whose: `this account with the models ${glob}`,
    limits: limits((name) => (said.get(name)!.glob === glob ? said.get(name)!.value : null)),
  }));
}

/** The calls of the customer API: so many a minute, of each key. A service key has them for each account. */
export function callsOf({ account, key }: Pick<Principal, 'account' | 'key'>, perMinute: number): Subject {
  return {
    key: `{${publicId('acct', account)}}:${publicId('key', key)}:calls`,
    whose: 'this API key',
    limits: { requests: perMinute, tokens: null, concurrency: null },
  };
}

function limits(of: (name: string) => number | null): Limits {
  return { requests: of(NAMES.requests), tokens: of(NAMES.tokens), concurrency: of(NAMES.concurrency) };
}

function isLimited({ limits }: Subject): boolean {
  return Object.values(limits).some((limit) => limit !== null);
}
