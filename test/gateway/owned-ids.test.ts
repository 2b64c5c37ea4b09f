/** What an answer made at its provider is noted as its account's, however the answer ends; and nothing else is. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OwnedIds } from '../../src/gateway/owned/ids.ts';
import {
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { responses, responsesStream } from '../support/scripted-responses.ts';
import { at, chat, reset } from '../support/scripted-upstream.ts';

let world: World;
let gateway: TestGateway;
let alice: TestAccount;
let mallory: TestAccount;
let made = 0;
/** What Alice's answer is called at the provider. */
let id: string;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  [alice, mallory] = [await createTestAccount(world, '5000'), await createTestAccount(world, '5000')];
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  id = `resp_made${++made}`;
  world.upstream.script(responses({ id }));
  expect((await create(alice, {})).status).toBe(200);
});
afterEach(() => expectSettled(world));

function create(account: TestAccount, body: object): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'plain', input: 'Hi', max_output_tokens: 16, ...body }),
  });
}

describe('what an answer made is its account’s', () => {
  const owner = async (one: string): Promise<bigint | undefined> =>
    (await new OwnedIds(world.pool).find([one]))[0]?.account;

  it('when the stream of it breaks off, and when its client leaves', async () => {
    world.upstream.script(responsesStream({ id: `${id}_broken` }, at(5, reset)));
    await (await create(alice, { stream: true })).text().catch(() => {});
    await eventually(async () => (await owner(`${id}_broken`)) === alice.account, 'a broken one is owned');
    world.upstream.script(
      responsesStream(
        { id: `${id}_left` },
        at(5, ({ held }) => held()),
      ),
    );
    const left = new AbortController();
    const stream = await fetch(`${gateway.url}/v1/responses`, {
      method: 'POST',
      headers: { authorization: `Bearer ${alice.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'plain', input: 'Hi', stream: true, max_output_tokens: 16 }),
      signal: left.signal,
    });
    await stream.body!.getReader().read();
    left.abort();
    await eventually(async () => (await owner(`${id}_left`)) === alice.account, 'one that was left is owned');
    world.upstream.release();
  });

  it('but not where it says that it is not stored: there only what the provider keeps all the same', async () => {
    const items = [{ id: `ig_${id}_b`, type: 'image_generation_call', result: 'aGk=' }];
    world.upstream.script(responses({ id: `${id}_b`, items }));
    await create(alice, { store: false });
    expect([await owner(`${id}_b`), await owner(`ig_${id}_b`), await owner('msg_scripted')]).toEqual([
      undefined,
      alice.account,
      alice.account, // From an answer before, which was stored.
    ]);
  });

  it('and thoughts that come back by their id, whether or not the answer is stored', async () => {
    const open = {
      id: `rs_${id}_open`,
      type: 'reasoning',
      summary: [],
      content: [{ type: 'reasoning_text', text: 'Hm' }],
    };
    const sealed = { id: `rs_${id}_sealed`, type: 'reasoning', summary: [], encrypted_content: 'gAAAA' };
    world.upstream.script(responses({ id: `${id}_open`, items: [open, sealed] }));
    for (const stream of [false, true]) {
      await (await create(alice, { store: false, stream })).text();
      expect([await owner(open.id), await owner(sealed.id)]).toEqual([alice.account, undefined]);
      expect((await create(alice, { input: [open] })).status).toBe(200);
      expect((await create(mallory, { input: [open] })).status).toBe(400);
      await world.pool.query('DELETE FROM stored_ids WHERE id IN ($1, $2)', [open.id, sealed.id]);
    }
  });

  it('and stays so when another is answered the same id', async () => {
    world.upstream.script(responses({ id }));
    await create(mallory, {});
    expect(await owner(id)).toBe(alice.account);
    expect(
      (await fetch(`${gateway.url}/v1/responses/${id}`, { headers: { authorization: `Bearer ${mallory.key}` } }))
        .status,
    ).toBe(404);
  });

  it('costs a chat nothing', async () => {
    const count = async () => (await world.pool.query('SELECT id FROM stored_ids')).rowCount;
    const before = await count();
    world.upstream.script(chat());
    await client(gateway, alice).chat.completions.create({
      model: 'plain',
      messages: [{ role: 'user', content: 'Hi' }],
    });
    expect(await count()).toBe(before);
  });

  it('for a month', async () => {
    const owned = new OwnedIds(world.pool);
    await owned.note(alice.account, 'scripted', '00000000-0000-7000-8000-000000000001', ['resp_old', 'resp_young']);
    await world.pool.query("UPDATE stored_ids SET at = at - interval '32 days' WHERE id = 'resp_old'");
    expect(await owned.prune()).toBe(false);
    expect([await owner('resp_old'), await owner('resp_young')]).toEqual([undefined, alice.account]);
  });
});
