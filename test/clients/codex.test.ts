/**
 * The requests that Codex makes: it speaks the Responses API alone, stores nothing at the provider, and sends its whole history
 * each turn, thoughts encrypted. A turn is over for it with `response.completed`; without one it sends the turn again.
 */
import { zstdCompressSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  chargedTo,
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
import {
  compaction,
  framesOf,
  type ResponsesAnswer,
  responses,
  responsesStream,
  responseUsage,
} from '../support/scripted-responses.ts';
import { at, reset, type Script, sequence } from '../support/scripted-upstream.ts';

type Json = Record<string, unknown>;

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

async function fresh(credits = '100'): Promise<void> {
  account = await createTestAccount(world, credits);
}

const charged = (): Promise<bigint> => chargedTo(world, account.account);
/** What so many tokens cost, in nano-credits. */
const cost = (input: number, output: number): bigint => BigInt(input) * 1_000_000n + BigInt(output) * 2_000_000n;

const TOOLS = [
  {
    ...{ type: 'function', name: 'shell', description: 'Runs a shell command', strict: false },
    parameters: { type: 'object', properties: { command: { type: 'array', items: { type: 'string' } } } },
  },
  {
    ...{ type: 'custom', name: 'apply_patch', description: 'Edits files' },
    format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' },
  },
];
const user = (text: string) => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });

function turn(input: Json[], more: Json = {}): Json {
  return {
    ...{ model: 'plain', instructions: 'You are Codex, a coding agent.', input, tools: TOOLS, tool_choice: 'auto' },
    ...{ parallel_tool_calls: false, reasoning: { effort: 'medium', summary: 'auto' }, store: false, stream: true },
    ...{ include: ['reasoning.encrypted_content'], prompt_cache_key: '0199a213-81c0-7800-8aa1-bbab2a035a53' },
    ...{ text: { verbosity: 'low' }, ...more },
  };
}

const HEADERS = {
  ...{
    'content-type': 'application/json',
    accept: 'text/event-stream',
    originator: 'codex_cli_rs',
    version: '0.144.0',
  },
  ...{ session_id: '0199a213', conversation_id: '0199a213', 'user-agent': 'codex_cli_rs/0.144.0 (Debian 12; x86_64)' },
};

function send(path: string, body: Json, headers: Record<string, string> = {}): Promise<Response> {
  const text = JSON.stringify(body);
  return fetch(`${gateway.url}/v1${path}`, {
    method: 'POST',
    headers: { ...HEADERS, authorization: `Bearer ${account.key}`, ...headers },
    body: headers['content-encoding'] === 'zstd' ? zstdCompressSync(text) : text,
  });
}

interface Turn {
  /** What it keeps for the next turn. */
  items: Json[];
  completed: Json | null;
  /** Its `response.error.code`, the one thing that Codex acts on where a response failed. */
  failed: string | null;
  types: string[];
}

/** Reads a stream as Codex does: items as they are done, and how it ended. */
async function read(response: Response): Promise<Turn> {
  const turn: Turn = { items: [], completed: null, failed: null, types: [] };
  const text = await response.text().catch(() => '');
  for (const frame of text.split('\n\n')) {
    const data = frame.split('\n').find((line) => line.startsWith('data: '));
    if (data === undefined) continue;
    const event = JSON.parse(data.slice('data: '.length)) as Json & { response?: Json; item?: Json };
    turn.types.push(String(event.type));
    if (event.type === 'response.output_item.done') turn.items.push(event.item!);
    if (event.type === 'response.completed') turn.completed = event.response!;
    if (event.type === 'response.failed') turn.failed = (event.response!.error as { code: string }).code;
  }
  return turn;
}

const THOUGHT = { id: 'rs_1', type: 'reasoning', summary: [], encrypted_content: 'gAAAAABthoughts' };
const shellCall = { name: 'shell', arguments: '{"command":["ls"]}', call_id: 'call_ls' };

describe('a session', () => {
  it('thinks, calls the shell, gets its output back and answers: each turn charged by its usage', async () => {
    await fresh();
    const calls = responses({ pieces: [], items: [THOUGHT], calls: [shellCall], usage: responseUsage(1_000, 80, 50) });
    const answers = responses({ pieces: ['Two', ' files.'], usage: responseUsage(1_200, 20, 0, 900) });
    world.upstream.script(sequence(calls, answers));

    const first = await read(await send('/responses', turn([user('What is here?')])));
    expect(first.items.map(({ type }) => type)).toEqual(['reasoning', 'function_call']);
    expect(first.items[0]).toMatchObject({ encrypted_content: 'gAAAAABthoughts' });
    expect(await charged()).toBe(cost(1_000, 80));

    const output = { type: 'function_call_output', call_id: 'call_ls', output: 'a.txt\nb.txt' };
    const history = [user('What is here?'), ...first.items, output];
    const second = await read(await send('/responses', turn(history)));
    expect(second.completed).toMatchObject({ id: 'resp_scripted', status: 'completed' });
    // What Codex needs of it: integers, and both details.
    expect(second.completed!.usage).toMatchObject({
      ...{ input_tokens: 1_200, output_tokens: 20, total_tokens: 1_220 },
      ...{ input_tokens_details: { cached_tokens: 900 }, output_tokens_details: { reasoning_tokens: 0 } },
    });
    expect(world.upstream.requests.at(-1)!.json).toMatchObject({
      ...{ model: 'plain-upstream', input: history, tools: TOOLS, store: false, text: { verbosity: 'low' } },
      ...{ include: ['reasoning.encrypted_content'], reasoning: { effort: 'medium', summary: 'auto' } },
    });
    // The cache is the account's own, and the same for all of its turns.
    const keys = world.upstream.requests.slice(-2).map(({ json }) => json.prompt_cache_key);
    expect(keys[0]).toEqual(expect.any(String));
    expect(keys[0]).not.toBe(turn([]).prompt_cache_key);
    expect(keys[1]).toBe(keys[0]);
    expect(await charged()).toBe(cost(2_200, 100));
  });

  it('sends its requests compressed with zstd', async () => {
    await fresh();
    world.upstream.script(responses());
    const answer = await read(await send('/responses', turn([user('Hello')]), { 'content-encoding': 'zstd' }));
    expect(answer.completed).not.toBeNull();
    expect(world.upstream.requests.at(-1)!.json.input).toEqual([user('Hello')]);
    expect(world.upstream.requests.at(-1)!.headers['content-encoding']).toBeUndefined();
    expect(await charged()).toBe(cost(12, 3));
  });

  it('has its history compacted, and goes on with what is left of it', async () => {
    // What was compacted may be as long as the context window: that is held for it.
    await fresh('500');
    world.upstream.script(compaction(responseUsage(5_000, 300)));
    const { model, instructions, input } = turn([user('A long story')]);
    const compacted = await send('/responses/compact', { model, instructions, input });
    const { output } = (await compacted.json()) as { output: Json[] };
    expect(output).toMatchObject([{ type: 'compaction', encrypted_content: expect.any(String) }]);
    expect(await charged()).toBe(cost(5_000, 300));

    world.upstream.script(responses());
    const next = await read(await send('/responses', turn([...output, user('And then?')])));
    expect(next.completed).not.toBeNull();
    expect(await charged()).toBe(cost(5_012, 303));
  });

  it('is told nothing about who else is served: no header of its client reaches the provider', async () => {
    await fresh();
    world.upstream.script(responses());
    await read(await send('/responses', turn([user('Hello')])));
    const { headers } = world.upstream.requests.at(-1)!;
    for (const name of ['originator', 'session_id', 'conversation_id']) expect(headers[name]).toBeUndefined();
    expect(headers['user-agent'] ?? '').not.toContain('codex');
  });
});

describe('what goes wrong', () => {
  it('a response that failed arrives with its code, after it was settled', async () => {
    await fresh();
    const error = { code: 'context_length_exceeded', message: 'Your input exceeds the context window.' };
    const failed: ResponsesAnswer = {
      pieces: [],
      status: 'failed',
      error,
      tellsError: true,
      usage: responseUsage(700, 0),
    };
    world.upstream.script(responses(failed));
    const ended = await read(await send('/responses', turn([user('Too long')])));
    expect(ended).toMatchObject({ completed: null, failed: 'context_length_exceeded' });
    expect(await charged()).toBe(cost(700, 0));
  });

  it('a provider that is out of our credits there does not tell its user to see to a plan', async () => {
    await fresh();
    const error = { code: 'insufficient_quota', message: 'You exceeded your current quota: see to your plan.' };
    world.upstream.script(responses({ pieces: [], status: 'failed', error, tellsError: true, usage: null }));
    const answer = await send('/responses', turn([user('Hello')]));
    const text = await answer.clone().text();
    expect(text).not.toContain('quota');
    expect(await read(answer)).toMatchObject({ completed: null, failed: 'upstream_rate_limited' });
  });

  it('a stream that breaks off has no response.completed: the turn is sent again, and each is charged as it was served', async () => {
    await fresh();
    const breaks: Script = responsesStream({ pieces: ['One', ' two'] }, at(5, reset));
    world.upstream.script(sequence(breaks, responses()));
    const broken = await read(await send('/responses', turn([user('Hello')])));
    expect(broken.completed).toBeNull();
    await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
    const before = await charged();
    const again = await read(await send('/responses', turn([user('Hello')])));
    expect(again.completed).not.toBeNull();
    expect((await charged()) - before).toBe(cost(12, 3));
  });

  it('a stream that stops before its last event is not whole either', async () => {
    await fresh();
    const last = framesOf({}) - 1;
    world.upstream.script(
      responsesStream(
        {},
        at(last, ({ response }) => void response.end()),
      ),
    );
    const cut = await read(await send('/responses', turn([user('Hello')])));
    expect(cut.completed).toBeNull();
    await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
  });

  it('out of credits is a quota that is used up, as OpenAI says it', async () => {
    await fresh('0.001');
    const refused = await send('/responses', turn([user('Hello')], { model: 'strict' }));
    expect(refused.status).toBe(429);
    expect(refused.headers.get('x-should-retry')).toBe('false');
    const { error } = (await refused.json()) as { error: Json };
    expect(error).toMatchObject({ type: 'insufficient_quota', code: 'insufficient_quota' });
  });

  it.each([
    ['a search of the web that has no price', { tools: [{ type: 'web_search', external_web_access: false }] }, 'tools'],
    ['a multi-agent run', { multi_agent: { enabled: true } }, 'multi_agent'],
  ])('%s is refused by its name', async (_, more, param) => {
    await fresh();
    const before = world.upstream.requests.length;
    const refused = await send('/responses', turn([user('Hello')], more));
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { type: 'invalid_request_error', param } });
    expect(world.upstream.requests.length).toBe(before);
  });
});
