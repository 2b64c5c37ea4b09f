/** Statements that the admin API refuses: each by the name of what is wrong, and nothing is changed. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createCustomer, createRig, errorBody, type Json, type Rig } from './rig.ts';

let rig: Rig;
let path: string;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());
beforeEach(async () => {
  path = `/accounts/${(await createCustomer(rig, null)).id}/entitlements`;
});

const statements = async () => (await rig.admin('GET', path)).body.statements as Json[];

const LONG = 'x'.repeat(1_000_000);
const GIVEN: Record<string, object | undefined> = {
  PUT: { value: true, reason: 'r' },
  POST: { source: 'grant', key: 'model:x', value: true, reference: 'r', reason: 'r' },
};
test.each<[string, string, string, object?]>([
  ['PUT', '/model:x', 'reason', { reason: undefined }],
  ['PUT', '/model:x', 'reason', { reason: LONG.slice(0, 501) }],
  ['PUT', '/model:x', 'value', { value: undefined }],
  ['PUT', '/model:x', 'value', { value: 'yes' }],
  ['PUT', '/model:x', 'value', { value: null }],
  ['PUT', '/limit:seats', 'value', { value: -1 }],
  ['PUT', '/limit:seats', 'value', { value: 1.5 }],
  ['PUT', '/limit:seats', 'value', { value: '10000000000000000000' }],
  ['PUT', '/limit:max_output_tokens', 'value', { value: 0 }],
  ['PUT', '/limit:seats@gpt-*', 'key', { value: 1 }],
  ['PUT', '/limit:rpm@', 'key', { value: 1 }],
  ['PUT', '/config:c', 'value', { value: LONG.slice(0, 4095) }],
  ['PUT', '/config:c', 'value', { value: ['nul \0'] }],
  ['PUT', '/plan', 'key', { value: 'pro' }],
  ['PUT', '/model', 'key'],
  ['PUT', '/other:x', 'key'],
  ['PUT', '/model:%00', 'key'],
  ['PUT', '/model:x', 'valid_until', { valid_until: '2020-01-01T00:00:00Z' }],
  ['PUT', '/model:x', 'valid_until', { valid_from: '2099-01-01T00:00:00Z', valid_until: '2099-01-01T00:00:00Z' }],
  ['PUT', '/model:x', 'valid_from', { valid_from: 'soon' }],
  ['PUT', '/model:x', 'source', { source: 'block' }],
  ['POST', '', 'source', { source: 'override' }],
  ['POST', '', 'reference', { reference: undefined }],
  ['POST', '', 'value', { value: false }],
  ['POST', '', 'value', { source: 'block' }],
  ['POST', '', 'value', { source: 'block', key: 'config:x', value: false }],
  ['POST', '', 'value', { key: 'plan', value: 'gone' }],
  ['POST', '', 'key', { source: 'block', key: 'plan', value: 'pro' }],
  ['POST', '', 'key', { key: LONG.slice(0, 900_000) }],
  ['DELETE', '/model:x?source=grant', 'reference'],
  ['DELETE', '/model:x?reference=r', 'reference'],
  ['DELETE', '/model:x?source=plan', 'source'],
  ['GET', '?at=yesterday', 'at'],
  ['GET', '?limit=0', 'limit'],
  ['GET', '?model=a&feature=b', 'feature'],
])('%s entitlements%s refuses a bad %s by name, and changes nothing', async (method, rest, param, other) => {
  const body = GIVEN[method] === undefined ? undefined : { ...GIVEN[method], ...other };
  const { status, body: answer } = await rig.admin(method, `${path}${rest}`, body);
  const refused = errorBody('invalid_request', 'invalid_request_error', param, expect.any(String));
  expect([status, answer]).toEqual([400, refused]);
  expect(await statements()).toEqual([]);
});

test('JSON that is nested too deeply is refused as such', async () => {
  const deep = `{"value":${'['.repeat(100_000)}${']'.repeat(100_000)},"reason":"r"}`;
  const { status, body } = await rig.admin('PUT', `${path}/config:c`, deep);
  expect([status, body]).toMatchObject([400, { error: { code: 'invalid_json' } }]);
});

test('without the account, or with an id that is none, all is 404', async () => {
  for (const id of ['acct_0000000000001', 'acct_nonsense', '..%2F']) {
    path = `/accounts/${id}/entitlements`;
    const answers = await Promise.all([
      rig.admin('GET', path),
      rig.admin('POST', path, GIVEN.POST),
      rig.admin('PUT', `${path}/model:x`, GIVEN.PUT),
      rig.admin('DELETE', `${path}/model:x`),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
  }
});
