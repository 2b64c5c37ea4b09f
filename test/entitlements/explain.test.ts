/** Decisions read well to a support person: a sentence that says what decided, and the row it came from beside it. */
import { expect, test } from 'vitest';
import type { Source, Statement } from '../../src/accounts/entitlements.ts';
import { buildCatalog } from '../../src/catalog/build.ts';
import { type Answer, answer, readCheck } from '../../src/entitlements/check.ts';
import { accessOf, type Who } from '../../src/entitlements/resolve.ts';
import { publicId } from '../../src/lib/ids.ts';

const model = (name: string) => ({
  kind: 'model',
  name,
  version: 1,
  body: { routes: [{ provider: 'on', model: name }], price: { input: '1', output: '2' }, max_output_tokens: 1000 },
});
const plan = (name: string, body: object) => ({ kind: 'plan', name, version: 1, body });
const MODELS = ['demo/chat', 'gpt-4o', 'gpt-5', 'o3'].map(model);
const PRO = plan('pro', { models: ['gpt-*'], features: ['images'], limits: { rpm: 600, seats: 10, 'rpm@gpt-5*': 5 } });
const FREE = plan('free', { default: true, models: ['demo/*'], limits: { rpm: 60 } });
const built = (entries: object[]) =>
  buildCatalog(1n, entries as never, { providers: new Set(['on']), markup: 1_000_000n });
const SECRET = plan('secret', { public: false, models: ['*'], features: ['images'] });
const CATALOG = built([...MODELS, SECRET, FREE, PRO]);
const WITHOUT_DEFAULT = built([...MODELS, PRO]);

const UNTIL = new Date('2026-12-31T00:00:00Z');
let serial = 0n;

function says(source: Source, key: string, value: unknown, until: Date | null = null): Statement {
  const version = Number(++serial);
  const from = new Date(0);
  const reference = source === 'override' || source === 'plan' ? '' : 'ref';
  return {
    id: serial,
    version,
    source,
    key,
    reference,
    value,
    from,
    until,
    reason: `note ${version}`,
    author: 'ann',
    createdAt: from,
  };
}

interface More {
  keyModels?: string[];
  suspended?: boolean;
  catalog?: typeof CATALOG;
}

function ask(statements: Statement[], asked: object, more: More = {}): Answer {
  const { catalog = CATALOG, ...terms } = more;
  const who = {
    account: 7n,
    key: 9n,
    statements,
    keyModels: null,
    keyLimits: null,
    prices: new Map(),
    suspended: false,
  };
  return answer(catalog, { ...who, ...terms }, readCheck(asked));
}

const ON_PRO = says('plan', 'plan', 'pro');
type Case = [what: string, Statement[], asked: object, allowed: boolean, kind: string, sentence: string, More?];
const CASES: Case[] = [
  [
    'the default plan includes it',
    [],
    { model: 'demo/chat' },
    true,
    'plan',
    'This account has no plan of its own, and the default plan "free" includes the model "demo/chat".',
  ],
  [
    'nobody includes it, and another plan would',
    [],
    { model: 'gpt-4o' },
    false,
    'default',
    'Neither the default plan "free" nor anything else granted to this account includes the model "gpt-4o". The plan "pro" does.',
  ],
  [
    'nobody includes it, and no plan would',
    [ON_PRO],
    { model: 'o3' },
    false,
    'default',
    'Neither the plan "pro" of this account nor anything else granted to this account includes the model "o3".',
  ],
  [
    'the assigned plan includes it',
    [ON_PRO],
    { model: 'gpt-4o' },
    true,
    'plan',
    'The plan "pro" of this account includes the model "gpt-4o".',
  ],
  ['there is no such model', [ON_PRO], { model: 'gpt-9' }, false, 'default', 'There is no model "gpt-9".'],
  [
    'it is on a plan that is gone',
    [says('plan', 'plan', 'old')],
    { model: 'o3' },
    false,
    'default',
    'The catalog has no plan "old", which this account is on, and nothing else includes the model "o3".',
  ],
  [
    'it has no plan at all',
    [],
    { model: 'gpt-4o' },
    false,
    'default',
    'This account has no plan, and nothing granted to it includes the model "gpt-4o". The plan "pro" does.',
    { catalog: WITHOUT_DEFAULT },
  ],
  [
    'an enterprise exception',
    [says('override', 'model:o3', true)],
    { model: 'o3' },
    true,
    'override',
    'An override allows this account the model "o3".',
  ],
  [
    'an override that takes away by a glob',
    [ON_PRO, says('override', 'model:gpt-*', false, UNTIL)],
    { model: 'gpt-5' },
    false,
    'override',
    'An override takes the model "gpt-5" away from this account until 2026-12-31T00:00:00.000Z, by its rule for "gpt-*".',
  ],
  [
    'a block, over an override',
    [says('override', 'model:o3', true), says('block', 'model:*', false)],
    { model: 'o3' },
    false,
    'block',
    'A block denies this account the model "o3", by its rule for "*".',
  ],
  [
    'a promotion with an end',
    [says('grant', 'model:o3', true, UNTIL)],
    { model: 'o3' },
    true,
    'grant',
    'A grant allows this account the model "o3" until 2026-12-31T00:00:00.000Z.',
  ],
  [
    'a temporary upgrade',
    [says('grant', 'plan', 'pro', UNTIL)],
    { model: 'gpt-5' },
    true,
    'grant',
    'A grant gives this account the plan "pro" until 2026-12-31T00:00:00.000Z, which includes the model "gpt-5".',
  ],
  [
    'a subscription',
    [says('subscription', 'plan', 'pro', UNTIL)],
    { feature: 'images' },
    true,
    'subscription',
    'This account subscribes to the plan "pro" until 2026-12-31T00:00:00.000Z, which includes the feature "images".',
  ],
  [
    'a feature that another plan has',
    [],
    { feature: 'images' },
    false,
    'default',
    'Neither the default plan "free" nor anything else granted to this account includes the feature "images". The plan "pro" does.',
  ],
  [
    'a key that is narrower than its account',
    [ON_PRO],
    { model: 'gpt-5' },
    false,
    'key',
    'This account may use the model "gpt-5", but this API key may use only "gpt-4*", "demo/*".',
    { keyModels: ['gpt-4*', 'demo/*'] },
  ],
  [
    'seats that are left',
    [ON_PRO],
    { limit: 'seats', used: 9 },
    true,
    'plan',
    'The plan "pro" of this account sets the limit "seats" to 10. 9 used and 1 more fit.',
  ],
  [
    'seats that are not left',
    [ON_PRO, says('grant', 'limit:seats', 12)],
    { limit: 'seats', used: 10, quantity: 3 },
    false,
    'grant',
    'A grant sets the limit "seats" to 12. 10 used and 3 more do not fit.',
  ],
  [
    'a limit that nobody set',
    [],
    { limit: 'projects' },
    false,
    'default',
    'Neither the default plan "free" nor anything else granted to this account sets a limit "projects". What nobody set is refused.',
  ],
  [
    'a limit of requests that nobody set',
    [],
    { limit: 'tpm' },
    true,
    'default',
    'Neither the default plan "free" nor anything else granted to this account sets a limit "tpm". So nothing limits it.',
  ],
  [
    'a suspended account',
    [ON_PRO],
    { model: 'gpt-4o' },
    false,
    'account',
    'This account is suspended: it may use nothing until it is active again.',
    { suspended: true },
  ],
];

test.each(CASES)('%s', (_what, statements, asked, allowed, kind, sentence, more = {}) => {
  const decision = ask(statements, asked, more);
  expect([decision.allowed, decision.source.kind, decision.reason]).toEqual([allowed, kind, sentence]);
  // The row that decided, with the words of whoever made it.
  const row = statements.find(({ id }) => publicId('ent', id) === decision.source.id);
  if (row !== undefined) expect(decision.source).toMatchObject({ kind: row.source, reason: row.reason });
  else
    expect(decision.source.id).toBe(
      { plan: 'free', key: publicId('key', 9n), account: publicId('acct', 7n) }[kind] ?? null,
    );
  expect(decision.validUntil).toEqual(row?.until ?? null);
});

test('a check tells the limits that would bind: the least of the account, the models and the key', () => {
  expect(ask([ON_PRO], { model: 'gpt-5' }).limits).toEqual({
    rpm: 5,
    tpm: null,
    concurrency: null,
    max_output_tokens: null,
  });
  expect(ask([ON_PRO], { feature: 'images' }).limits.rpm).toBe(600);
  const who = { account: 7n, key: 9n, statements: [ON_PRO], keyModels: null, prices: new Map(), suspended: false };
  const narrow = { ...who, keyLimits: { rpm: 3, max_output_tokens: 200 } };
  const { limits } = answer(CATALOG, narrow, readCheck({ model: 'gpt-5' }));
  const most = (model: string, who: Who) => accessOf(CATALOG, who).model(model);
  // The model itself comes with that, and its provider has to be told.
  expect(most('gpt-5', narrow)).toMatchObject({ model: { maxOutputTokens: 200, statesMaxOutput: false } });
  expect(most('gpt-5', { ...who, keyLimits: { max_output_tokens: 2000 } })).toMatchObject({
    model: { maxOutputTokens: 1000, statesMaxOutput: true },
  });
  expect(limits).toEqual({ rpm: 3, tpm: null, concurrency: null, max_output_tokens: 200 });
});

test.each([
  [{}, 'model'],
  [{ model: 'a', feature: 'b' }, 'feature'],
  [{ model: '' }, 'model'],
  [{ limit: 'seats', used: -1 }, 'used'],
  [{ limit: 'seats', quantity: 0 }, 'quantity'],
  [{ limit: 'seats', quantity: 1.5 }, 'quantity'],
  [{ model: 'a'.repeat(256) }, 'model'],
  [{ config: 'a' }, 'config'],
])('a check refuses %j by the name of %s', (asked, param) => {
  expect(() => readCheck(asked)).toThrow(expect.objectContaining({ code: 'invalid_request', param }));
});
