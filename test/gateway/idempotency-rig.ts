/** A gateway, an account and an Idempotency-Key of its own for each test; the books balance after each. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest';
import { InFlight } from '../../src/gateway/in-flight.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat, type Script, type ScriptName } from '../support/scripted-upstream.ts';

export const PROMPT = 'a-prompt-that-nobody-else-may-read';
/** What each answer of the scripted upstream costs, in nano-credits. */
export const EXACT = 18_000_000n;

export const bodyOf = (streams: boolean, more: object = {}): string =>
  JSON.stringify({ model: 'plain', stream: streams, messages: [{ role: 'user', content: PROMPT }], ...more });

export let world: World;
export let gateway: TestGateway;
export let account: TestAccount;
/** The Idempotency-Key. */
export let name: string;
let seen = 0;

/** Registers the hooks of a test file. */
export function useIdempotency(): void {
  beforeAll(async () => {
    world = await createWorld();
    gateway = await startGateway(world);
  });
  afterAll(async () => {
    await gateway.close();
    await closeWorld(world);
  });
  beforeEach(async () => {
    await useAccount('1000');
    name = randomUUID();
    script(chat());
  });
  afterEach(() => expectSettled(world));
}

export async function useAccount(credits: string): Promise<void> {
  account = await createTestAccount(world, credits);
}

export async function restartGateway(): Promise<void> {
  await gateway.close();
  gateway = await startGateway(world);
}

/** Answers by this from now on; forwards are counted from here. */
export function script(next: Script | ScriptName): void {
  world.upstream.script(next);
  seen = world.upstream.requests.length;
}

export const forwards = (): number => world.upstream.requests.length - seen;

export const ask = (body: string, headers: Record<string, string> = {}, key: string = account.key): Promise<Response> =>
  post(gateway, key, body, { 'idempotency-key': name, ...headers });

/** Asks, and leaves once the provider has the request, and a stream has begun; resolves when the gateway knows that. */
export async function leave(body: string): Promise<void> {
  const control = new AbortController();
  const asked = fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}`, 'idempotency-key': name },
    body,
    signal: control.signal,
  });
  asked.catch(() => {});
  await world.upstream.arrived(seen + 1);
  if (body.includes('"stream":true')) await (await asked).body!.getReader().read();
  const gone = vi.spyOn(InFlight.prototype, 'clientGone');
  control.abort();
  await eventually(() => gone.mock.calls.length > 0, 'the gateway sees the client leave');
  gone.mockRestore();
}

export interface Whole {
  status: number;
  headers: Headers;
  bytes: Buffer;
}

export async function wholeOf(response: Response): Promise<Whole> {
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
}

export async function errorOf(
  response: Response,
): Promise<{ type: string; code: string; param: string; message: string }> {
  return ((await response.json()) as { error: never }).error;
}

/** What one of two answers to the same says otherwise: that it is a repeat, its time, and the framing of its connection. */
const OWN = ['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'idempotent-replayed'];

/** As the first one got it, byte for byte. */
export function expectReplayed(second: Whole, first: Whole): void {
  const kept = (headers: Headers): [string, string][] => [...headers].filter(([header]) => !OWN.includes(header));
  expect(first.headers.get('idempotent-replayed')).toBeNull();
  expect(second.headers.get('idempotent-replayed')).toBe('true');
  expect(second.status).toBe(first.status);
  expect(kept(second.headers)).toEqual(kept(first.headers));
  expect(second.bytes.equals(first.bytes)).toBe(true);
}

const countOf = async (condition: string): Promise<number> =>
  (await world.pool.query(`SELECT FROM idempotency WHERE account_id = $1 AND ${condition}`, [account.account]))
    .rowCount!;
export const openClaims = (): Promise<number> => countOf('state = 0');
export const keptAnswers = (): Promise<number> => countOf('state = 1');
