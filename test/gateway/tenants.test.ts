/** Accounts that share one account at a provider are told apart there by names that only this installation can make. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Principal } from '../../src/accounts/principals.ts';
import { installationSecret } from '../../src/db/installation-secret.ts';
import { editedBody } from '../../src/gateway/edits.ts';
import { Tenants } from '../../src/gateway/tenancy.ts';
import { chatRequests, readChatRequest } from '../../src/metering/requests/chat.ts';
import { useOf } from '../../src/metering/requests/field-uses.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { wav } from './wall-rig.ts';

const FIELDS = ['safety_identifier', 'prompt_cache_key', 'user'] as const;
const NAME = /^[\w-]{32}$/;

let world: World;
let gateway: TestGateway;
let one: TestAccount;
let other: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  const provider = (name: string, more: string): string =>
    `  ${name}: { kind: openai, base_url: "${world.upstream.url}", api_key: "sk-provider-secret-0123456789", ${more} }\n`;
  appendFileSync(
    join(world.folder, 'tollgate.yaml'),
    provider('isolated', 'isolate_tenants: true') +
      provider('open', 'isolate_tenants: false') +
      provider('forgetful', 'isolate_tenants: false, store: never'),
  );
  const model = (name: string): string =>
    `  ${name}: { routes: [{ provider: ${name}, model: ${name} }], max_output_tokens: 1000, price: { input: 1, output: 2, input_audio: 1, second_input: 0 } }\n`;
  const catalog = readFileSync(join(world.folder, 'catalog.yaml'), 'utf8');
  const models = model('isolated') + model('open') + model('forgetful');
  const everything = 'default: true, models: ["*"]';
  writeFileSync(
    join(world.folder, 'catalog.yaml'),
    catalog.replace('models:\n', `models:\n${models}`).replace(/default: true, models: \[[^\]]*\]/, everything),
  );
  gateway = await startGateway(world);
  [one, other] = [await createTestAccount(world, '100'), await createTestAccount(world, '100')];
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
});

const bodyOf = (model: string, more = ''): string =>
  `{"model":"${model}","messages":[{"role":"user","content":"hi"}]${more}}`;

async function sent(
  account: TestAccount,
  model: string,
  more = '',
): Promise<{ text: string; json: Record<string, unknown> }> {
  const response = await post(gateway, account.key, bodyOf(model, more));
  expect(response.status).toBe(200);
  await response.arrayBuffer();
  const text = world.upstream.requests.at(-1)!.body.toString();
  return { text, json: JSON.parse(text) };
}

describe('isolate_tenants: true', () => {
  it('names the account where a request does not say whose it is, the same at every time', async () => {
    const first = await sent(one, 'isolated');
    const again = await sent(one, 'isolated');
    const others = await sent(other, 'isolated');
    expect(first.json.safety_identifier).toMatch(NAME);
    expect(first.json.prompt_cache_key).toMatch(NAME);
    expect(first.json.prompt_cache_key).not.toBe(first.json.safety_identifier);
    expect(first.json.user).toBeUndefined();
    expect(again.text).toBe(first.text);
    for (const field of ['safety_identifier', 'prompt_cache_key']) {
      expect(others.json[field]).not.toBe(first.json[field]);
    }
    expect(first.text).not.toContain(one.accountId);
  });

  it.each(FIELDS)('replaces %s by one that depends on it and on the account', async (field) => {
    const said = (value: string): string => `,"${field}":"${value}"`;
    const alice = (await sent(one, 'isolated', said('alice'))).json[field];
    expect(alice).toMatch(NAME);
    expect((await sent(one, 'isolated', said('\\u0061lice'))).json[field]).toBe(alice);
    expect((await sent(one, 'isolated', said('bob'))).json[field]).not.toBe(alice);
    expect((await sent(other, 'isolated', said('alice'))).json[field]).not.toBe(alice);
    // What another account is called cannot be said either.
    expect((await sent(other, 'isolated', said(String(alice)))).json[field]).not.toBe(alice);
  });

  it.each(['null', '7', '{"a":"b"}', '["x"]', '""'])('lets no %s pass in the place of a name', async (json) => {
    for (const field of FIELDS)
      expect((await sent(one, 'isolated', `,"${field}" : ${json}`)).json[field]).toMatch(NAME);
  });

  it.each([
    ['given twice', '"safety_identifier":"a","safety_identifier":"b"', 'safety_identifier'],
    ['spelled with escapes', '"prompt_cache\\u005fkey":"a"', 'prompt_cache_key'],
    ['spelled in capitals', '"User":"a"', 'user'],
    ['given twice', '"store":false,"store":true', 'store'],
  ])('refuses one that is %s', async (_how, more, param) => {
    const response = await post(gateway, one.key, bodyOf('isolated', `,${more}`));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_request', param } });
  });

  it('changes nothing else in the bytes', async () => {
    const { text, json } = await sent(one, 'isolated', ' , "seed":9223372036854775807,\n"metadata":{"user":"x"}');
    const added = FIELDS.filter((field) => field in json).map((field) => `,"${field}":"${json[field]}"`);
    expect(text).toBe(bodyOf('isolated', ` , "seed":9223372036854775807,\n"metadata":{"user":"x"}${added.join('')}`));
  });

  it('replaces what a form says, and nothing else of it', async () => {
    const form = (user: string): FormData => {
      const body = new FormData();
      for (const [name, value] of [
        ['user', user],
        ['model', 'isolated'],
        ['language', user],
      ]) {
        body.append(name!, value!);
      }
      body.append('file', new Blob([wav()], { type: 'audio/wav' }), 'user.wav');
      return body;
    };
    world.upstream.script(
      ({ response }) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"text":"hi"}'),
    );
    const hear = async (account: TestAccount, user: string): Promise<FormData> => {
      const headers = { authorization: `Bearer ${account.key}` };
      const url = `${gateway.url}/v1/audio/transcriptions`;
      expect((await fetch(url, { method: 'POST', headers, body: form(user) })).status).toBe(200);
      const { headers: sentHeaders, body } = world.upstream.requests.at(-1)!;
      expect(Number(sentHeaders['content-length'])).toBe(body.length);
      return new Response(new Uint8Array(body), {
        headers: { 'content-type': sentHeaders['content-type']! },
      }).formData();
    };
    const [ones, others] = [await hear(one, 'alice'), await hear(other, 'alice')];
    world.upstream.script('plain');
    expect(ones.getAll('user')).toEqual([expect.stringMatching(NAME)]);
    expect(others.get('user')).not.toBe(ones.get('user'));
    expect([...ones.keys()]).toEqual(['user', 'model', 'language', 'file']);
    expect(ones.get('language')).toBe('alice');
    expect((ones.get('file') as File).name).toBe('user.wav');
  });

  it('adds to a form only what its endpoint takes', () => {
    const tenants = new Tenants(Buffer.alloc(32, 7));
    const of = (path: string, mode: 'set' | 'replaced') =>
      tenants.partsFor({ tenants: mode }, path, { account: 7n } as Principal, []);
    expect(of('/images/edits', 'set')).toEqual([['user', expect.stringMatching(NAME)]]);
    expect(of('/images/edits', 'replaced')).toEqual([]);
    expect(of('/audio/translations', 'set')).toEqual([]);
  });

  it('another gateway of the installation gives the same names, and another installation others', async () => {
    const before = await sent(one, 'isolated');
    await gateway.close();
    gateway = await startGateway(world);
    expect((await sent(one, 'isolated')).text).toBe(before.text);
    const all = await Promise.all([1, 2, 3].map(() => installationSecret(world.pool, 'another')));
    expect(new Set(all.map((secret) => secret.toString('hex'))).size).toBe(1);
    expect(all[0]).toHaveLength(32);
    expect(all[0]).not.toEqual(await installationSecret(world.pool, 'tenants'));
  });
});

describe('a provider', () => {
  it('that is not OpenAI gets the two names in the place of others, but none that was not given', async () => {
    expect((await sent(one, 'strict')).text).toBe(bodyOf('strict'));
    const { json } = await sent(one, 'strict', ',"safety_identifier":"a","prompt_cache_key":"b","user":"c"');
    expect(json).toMatchObject({
      safety_identifier: expect.stringMatching(NAME),
      prompt_cache_key: expect.stringMatching(NAME),
      user: 'c',
    });
  });

  it('with isolate_tenants: false gets what the client sent', async () => {
    const more = ',"safety_identifier":"a","prompt_cache_key":"b","user":"c","store":true';
    expect((await sent(one, 'open', more)).text).toBe(bodyOf('open', more));
  });

  it('with store: never is told to store nothing, whatever the client sent', async () => {
    for (const more of ['', ',"store":true', ',"store":null', ',"store":false']) {
      expect((await sent(one, 'forgetful', more)).json.store).toBe(false);
    }
  });
});

it.each([
  ['/chat/completions', 'chat', ['safety_identifier', 'prompt_cache_key']],
  ['/responses', 'responses', ['safety_identifier', 'prompt_cache_key']],
  ['/completions', 'completions', ['user']],
  ['/embeddings', 'embeddings', ['user']],
  ['/images/generations', 'images', ['user']],
  ['/images/edits', 'image_edits', ['user']],
  ['/images/variations', 'image_variations', ['user']],
  ['/audio/speech', 'speech', []],
  ['/audio/transcriptions', 'transcriptions', []],
  ['/audio/translations', 'translations', []],
] as const)('to a request of %s nothing is added that it does not take', (path, endpoint, added) => {
  const tenants = new Tenants(Buffer.alloc(32, 7));
  const provider = { tenants: 'set', storesNothing: true } as const;
  const request = { spans: new Map(), end: 1 };
  const fields = tenants.fieldsFor(provider, path, { account: 7n } as Principal, request, Buffer.from('{}'));
  const names = fields.map(([field]) => field);
  expect(names.filter((field) => field !== 'store')).toEqual(added);
  for (const field of names) expect(useOf(endpoint, field), field).not.toBeNull();
});

it('whatever a body is, none of what it says of whose it is goes on, and all else does', () => {
  const tenants = new Tenants(Buffer.alloc(32, 7));
  const principal = { account: 7n } as Principal;
  const value = fc.oneof(fc.string(), fc.constant(null), fc.integer());
  const members = fc.record(
    { safety_identifier: value, prompt_cache_key: value, user: value, store: fc.boolean(), seed: fc.integer() },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(members, fc.constantFrom('set', 'replaced'), fc.boolean(), (more, mode, storesNothing) => {
      const body = Buffer.from(JSON.stringify({ ...more, model: 'm', messages: [{ role: 'user', content: 'hi' }] }));
      const request = readChatRequest(body);
      const provider = {
        outputLimitField: 'max_tokens',
        tellsUsageUnasked: false,
        tenants: mode,
        storesNothing,
      } as const;
      const fields = tenants.fieldsFor(provider, '/chat/completions', principal, request, body);
      const target = { model: 'm', clampedTo: null, provider, fields };
      const out = JSON.parse(editedBody(body, request, chatRequests, target).toString());
      const ours = mode === 'set' ? FIELDS : FIELDS.slice(0, 2);
      for (const field of ours) {
        if (field in more) expect(out[field]).toMatch(NAME);
      }
      const strip = ({
        safety_identifier: _s,
        prompt_cache_key: _p,
        user,
        store,
        ...rest
      }: Record<string, unknown>) => ({
        ...rest,
        ...(mode === 'set' ? {} : { user }),
        store: storesNothing ? false : store,
      });
      expect(strip(out)).toEqual(strip(JSON.parse(body.toString())));
    }),
    { numRuns: 60 },
  );
});
