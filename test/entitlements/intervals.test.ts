/**
 * The database's statements in force and the resolver together, against a naive model: for random statements, at every instant at
 * which one is made, begins or ends, and a microsecond to each side of it. And a decision of the past is found again later.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SOURCES, type Source, type Statement } from '../../src/accounts/entitlements.ts';
import { buildCatalog } from '../../src/catalog/build.ts';
import { accessOf } from '../../src/entitlements/resolve.ts';
import type { Access, Decision } from '../../src/entitlements/types.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { mintId, publicId } from '../../src/lib/ids.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const RUNS = Number(process.env.RUNS ?? 40);

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const MODELS = ['gpt-4o', 'gpt-4o-mini', 'o3'];
const PLANS: Record<string, { models: string[]; features: string[]; limits: Record<string, number> }> = {
  free: { models: ['o3'], features: [], limits: { rpm: 2, 'rpm@gpt-*': 1 } },
  pro: { models: ['gpt-*'], features: ['f'], limits: { rpm: 3, seats: 4, 'rpm@gpt-4o': 2 } },
  max: { models: ['*'], features: ['f', 'g'], limits: { seats: 9, 'rpm@gpt-*': 7, 'rpm@gpt-4o*': 5 } },
};
const model = (name: string) => ({ routes: [{ provider: 'on', model: name }], price: { input: '1', output: '2' } });
const CATALOG = buildCatalog(
  1n,
  [
    ...MODELS.map((name) => ({ kind: 'model', name, version: 1, body: model(name) })),
    ...Object.entries(PLANS).map(([name, body]) => ({
      kind: 'plan',
      name,
      version: 1,
      body: { ...body, default: name === 'free' },
    })),
  ],
  { providers: new Set(['on']), markup: 1_000_000n },
);

/** Instants as microseconds after one. */
const START = Date.UTC(2026, 0, 1);
const text = (at: number): string => new Date(START).toISOString().replace('.000Z', `.${String(at).padStart(6, '0')}Z`);

interface Made {
  version: number;
  source: Source;
  key: string;
  reference: string;
  value: unknown;
  made: number;
  from: number;
  until: number;
}

// The naive model: straight from the words of the rule, one statement at a time.

function inForce(all: readonly Made[], at: number): Made[] {
  const begun = all.filter(({ made, from }) => made <= at && from <= at);
  const isNewest = (one: Made): boolean =>
    !begun.some(
      (other) =>
        other.version > one.version &&
        other.source === one.source &&
        other.key === one.key &&
        other.reference === one.reference,
    );
  return begun.filter((one) => isNewest(one) && one.value !== null && at < one.until);
}

const fits = (glob: string, name: string): boolean => new RegExp(`^${glob.split('*').join('.*')}$`).test(name);
const says = (glob: string): number => (glob.includes('*') ? glob.replaceAll('*', '').length : 99);

interface Rule {
  kind: Source;
  /** 0: the default plan's. */
  version: number;
  key: string;
  value: unknown;
}

/** All that is in force, plans written out as what is in them. */
function rules(all: readonly Made[], at: number): Rule[] {
  const now = inForce(all, at);
  if (!now.some(({ source, key }) => source === 'plan' && key === 'plan')) {
    now.push({
      version: 0,
      source: 'plan',
      key: 'plan',
      reference: '',
      value: 'free',
      made: 0,
      from: 0,
      until: Infinity,
    });
  }
  return now.flatMap(({ source: kind, version, key, value }) => {
    if (key !== 'plan') return [{ kind, version, key, value }];
    const { models = [], features = [], limits = {} } = PLANS[value as string] ?? {};
    return [
      ...models.map((glob) => ({ kind, version, key: `model:${glob}`, value: true })),
      ...features.map((name) => ({ kind, version, key: `feature:${name}`, value: true })),
      ...Object.entries(limits).map(([name, limit]) => ({ kind, version, key: `limit:${name}`, value: limit })),
    ];
  });
}

/** What decides of a thing: its value, whose rank it was, and the versions of the statements that say so. */
function naive(all: readonly Made[], at: number, matches: (key: string) => number | null): [unknown, string, number[]] {
  for (const kind of SOURCES) {
    const said = rules(all, at).flatMap((rule) => {
      const specific = rule.kind === kind ? matches(rule.key) : null;
      return specific === null ? [] : [{ ...rule, specific }];
    });
    if (said.length === 0) continue;
    const isLimit = said[0]!.key.startsWith('limit:');
    const isConfig = said[0]!.key.startsWith('config:');
    const decides = kind === 'block' || kind === 'override';
    const most = decides || isLimit ? Math.max(...said.map(({ specific }) => specific)) : null;
    const left = said.filter(({ specific }) => most === null || specific === most);
    const newest = Math.max(...left.map(({ version }) => version));
    const value =
      decides || isConfig
        ? left.find(({ version }) => version === newest)!.value
        : isLimit
          ? Math.max(...left.map((one) => one.value as number))
          : left.some((one) => one.value === true);
    const by = decides || isConfig ? [newest] : left.filter((one) => one.value === value).map(({ version }) => version);
    return [value, kind, by];
  }
  return [null, 'default', []];
}

const QUESTIONS: [name: string, ask: (access: Access) => Decision, matches: (key: string) => number | null][] = [
  ...MODELS.map((name): (typeof QUESTIONS)[number] => [
    `model ${name}`,
    (access) => access.model(name),
    (key) => (key.startsWith('model:') && fits(key.slice(6), name) ? says(key.slice(6)) : null),
  ]),
  ...MODELS.map((name): (typeof QUESTIONS)[number] => [
    `rpm of ${name}`,
    (access) => access.modelLimit('rpm', name),
    (key) => (key.startsWith('limit:rpm@') && fits(key.slice(10), name) ? says(key.slice(10)) : null),
  ]),
  ...['f', 'g'].map((name): (typeof QUESTIONS)[number] => [
    `feature ${name}`,
    (access) => access.feature(name),
    (key) => (key === `feature:${name}` ? 0 : null),
  ]),
  ...['rpm', 'seats'].map((name): (typeof QUESTIONS)[number] => [
    `limit ${name}`,
    (access) => access.limit(name),
    (key) => (key === `limit:${name}` ? 0 : null),
  ]),
  ['config c', (access) => access.config('c'), (key) => (key === 'config:c' ? 0 : null)],
];

const KEYS = [
  'model:*',
  'model:gpt-*',
  'model:gpt-4o',
  'model:*mini',
  'feature:f',
  'limit:rpm',
  'limit:seats',
  'limit:rpm@gpt-*',
  'limit:rpm@*o',
  'config:c',
  'plan',
];
const moment = fc.integer({ min: 0, max: 12 });
const statements = fc.array(
  fc
    .record({
      source: fc.constantFrom(...SOURCES),
      key: fc.constantFrom(...KEYS),
      reference: fc.constantFrom('a', 'b'),
      yes: fc.boolean(),
      number: fc.integer({ min: 0, max: 9 }),
      plan: fc.constantFrom('free', 'pro', 'max', 'gone'),
      withdrawn: fc.boolean(),
      rare: fc.integer({ min: 0, max: 4 }),
      pause: fc.integer({ min: 0, max: 3 }),
      from: moment,
      lasts: fc.option(fc.integer({ min: 1, max: 6 })),
    })
    .filter(({ source, key }) => key !== 'plan' || (source !== 'block' && source !== 'override'))
    .filter(({ source, key }) => key !== 'config:c' || source !== 'block'),
  { maxLength: 14 },
);
type Drawn = (typeof statements extends fc.Arbitrary<infer T> ? T : never)[number];

function drawnValue({ source, key, yes, number, plan, rare, withdrawn }: Drawn): unknown {
  if (rare === 0 && withdrawn) return null;
  if (key === 'plan') return plan;
  if (key.startsWith('limit:')) return number;
  if (key.startsWith('config:')) return { number };
  return source === 'override' ? yes : source !== 'block';
}

/** Makes statements after those that were made. */
async function state(account: bigint, drawn: readonly Drawn[], before: readonly Made[] = []): Promise<Made[]> {
  const all = [...before];
  // What comes after others is made later than they were.
  let now = (all.at(-1)?.made ?? 1) + 1;
  for (const one of drawn) {
    now += one.pause;
    // Some begin as they are made, some later, some are told of too late.
    const from = one.rare < 2 ? now : one.from;
    const until = one.lasts === null ? Infinity : Math.max(from, now) + one.lasts;
    const reference = one.source === 'override' || one.source === 'plan' ? '' : one.reference;
    const made = {
      version: all.length + 1,
      source: one.source,
      key: one.key,
      reference,
      value: drawnValue(one),
      made: now,
      from,
      until,
    };
    const json = made.value === null ? null : JSON.stringify(made.value);
    await database.pool.query("SELECT entitlement_put($1, $2, $3, $4, $5, $6, $7, $8, 'why', 'me', $9)", [
      account,
      made.version,
      made.source,
      made.key,
      reference,
      json,
      text(from),
      until === Infinity ? null : text(until),
      text(now),
    ]);
    all.push(made);
  }
  return all;
}

/** What the database and the resolver decide at each instant. */
async function decide(account: bigint, instants: readonly number[]): Promise<Access[]> {
  const { rows } = await database.pool.query<{ at: number; statements: (Omit<Statement, 'id'> & { id: string })[] }>(
    `SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.entitlement_id::text, 'version', e.version, 'source', e.source, 'key', e.key,
         'value', e.value, 'until', CASE WHEN e.valid_until < 'infinity' THEN e.valid_until END) ORDER BY e.version)
         FILTER (WHERE e.version IS NOT NULL), '[]') AS statements
       FROM unnest($2::timestamptz[]) WITH ORDINALITY t(at, n) LEFT JOIN LATERAL entitlements_at($1, t.at) e ON true
       GROUP BY t.n ORDER BY t.n`,
    [account, instants.map(text)],
  );
  return rows.map(({ statements }) => {
    const read = statements.map((one) => ({
      ...one,
      id: BigInt(one.id),
      until: one.until === null ? null : new Date(one.until),
    }));
    return accessOf(CATALOG, {
      key: 1n,
      statements: read as Statement[],
      keyModels: null,
      keyLimits: null,
      prices: new Map(),
    });
  });
}

function compare(access: Access, all: readonly Made[], at: number): void {
  for (const [name, ask, matches] of QUESTIONS) {
    const { value, source, reason } = ask(access);
    const [expected, kind, by] = naive(all, at, matches);
    const none = name.startsWith('model') || name.startsWith('feature') ? false : null;
    expect([at, name, value, source.kind]).toEqual([at, name, expected ?? none, kind]);
    // The row that it names is one of those that say so.
    const rows = by.map((version) => (version === 0 ? 'free' : publicId('ent', BigInt(version))));
    expect(rows.length === 0 ? [null] : rows).toContain(source.id);
    expect(reason).toMatch(/^[A-Z].*\.$/);
  }
}

test(`decisions are those of the naive model at every edge, and are found again later (SEED=${SEED})`, async () => {
  const property = fc.asyncProperty(statements, async (drawn) => {
    const account = mintId(systemClock);
    await database.pool.query("INSERT INTO accounts (account_id, name) VALUES ($1, 'x')", [account]);
    await database.pool.query('INSERT INTO wallets (account_id, overdraft) VALUES ($1, 0)', [account]);
    const half = Math.floor(drawn.length / 2);
    const first = await state(account, drawn.slice(0, half));
    const then = first.at(-1)?.made ?? 1;
    const [decidedThen] = await decide(account, [then]);
    const all = await state(account, drawn.slice(half), first);
    const edges = all.flatMap(({ made, from, until }) => [made, from, until]).filter(Number.isFinite);
    const instants = [...new Set(edges.flatMap((at) => [at - 1, at, at + 1]))].filter((at) => at >= 0);
    const decided = await decide(account, [...instants, then]);
    for (const [i, at] of instants.entries()) compare(decided[i]!, all, at);
    for (const [name, ask] of QUESTIONS) expect([name, ask(decided.at(-1)!)]).toEqual([name, ask(decidedThen!)]);
  });
  await fc.assert(property, { seed: SEED, numRuns: RUNS });
});
