/**
 * Routes that fail in every way, one after the other, for JSON and streams, the client there or gone: its attempts are lines of
 * one receipt, it has one hold and one charge, and only what a provider served is charged; what was sent and never
 * answered, by the model's policy.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, type MockInstance, vi } from 'vitest';
import { InFlight } from '../../src/gateway/in-flight.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { parsePublicUuid } from '../../src/lib/ids.ts';
import { decodeReceipt } from '../../src/metering/receipt.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
  warmTokens,
} from '../support/gateway.ts';
import { type Case, cases, nameOf, OUTCOMES, type Outcome } from './attempts-rig.ts';

/** At 0.001 credits a token of input, and 0.002 of output, in nano-credits. */
const INPUT = 1_000_000n;
const OUTPUT = 2_000_000n;
const REPORTED = 12n * INPUT + 3n * OUTPUT;

const ALL = cases();
const outcomesOf = ({ kind, routes }: Case): Outcome[] => routes.map((name) => OUTCOMES[kind][name]!);
const providerOf = ({ script, isSilent }: Outcome): string =>
  script === null ? 'dead' : isSilent ? 'impatient' : 'scripted';
/** A model of as many routes, over the providers that answer as they are to; its names at them say which route it is. */
const modelOf = (one: Case): string => [...outcomesOf(one).map(providerOf), one.onTimeout, disconnectOf(one)].join('-');
const disconnectOf = ({ leaves }: Case): string => leaves?.policy ?? 'abort';

/** The attempts that are to be made: up to the first that is not passed over, or during which the client leaves. */
function attemptsOf(one: Case): Outcome[] {
  const outcomes = outcomesOf(one);
  const last = outcomes.findIndex(({ goesOn }) => !goesOn);
  const made = last < 0 ? outcomes.length : last + 1;
  return outcomes.slice(0, one.leaves === null ? made : Math.min(made, one.leaves.at + 1));
}

function catalog(): string {
  const models = new Map(ALL.map((one) => [modelOf(one), one]));
  const lines = [...models].map(([name, one]) => {
    const routes = outcomesOf(one).map((outcome, i) => `{ provider: ${providerOf(outcome)}, model: "${i}" }`);
    return `  ${name}: { routes: [${routes.join(', ')}], max_output_tokens: 1000, context_window: 100000, on_upstream_timeout: ${one.onTimeout}, on_disconnect: ${disconnectOf(one)}, price: { input: 1, output: 2 } }`;
  });
  return `models:\n${lines.join('\n')}\nplans:\n  standard: { default: true, models: ["*"], features: [] }\n`;
}

interface Running {
  one: Case;
  forwards: number;
  /** The attempt has come during which its client leaves, and the gateway knows that it did. */
  arrived: PromiseWithResolvers<void>;
  left: PromiseWithResolvers<void>;
}
const running = new Map<string, Running>();

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let hold: MockInstance<LedgerWriter['hold']>;
beforeAll(async () => {
  const impatient = `{ kind: openai, base_url: "URL", api_key: "sk-impatient", headers_timeout_seconds: 8, body_timeout_seconds: 8 }`;
  world = await createWorld();
  const config = world.env.TOLLGATE_CONFIG!;
  writeFileSync(
    config,
    `providers:
  scripted: { kind: openai, base_url: "${world.upstream.url}", api_key: "sk-scripted" }
  impatient: ${impatient.replace('URL', world.upstream.url)}
  dead: { kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: "sk-dead" }
`,
  );
  writeFileSync(world.env.TOLLGATE_CATALOG!, catalog());
  gateway = await startGateway(world);
  await warmTokens(world, gateway, modelOf(ALL[0]!));
  hold = vi.spyOn(LedgerWriter.prototype, 'hold');
  const { clientGone } = InFlight.prototype;
  vi.spyOn(InFlight.prototype, 'clientGone').mockImplementation(function (this: InFlight, context) {
    clientGone.call(this, context);
    const { user } = JSON.parse(context.body!.toString());
    running.get(user)!.left.resolve();
  });
  account = await createTestAccount(world, '100000');
  world.upstream.script(async (exchange) => {
    const { user, model } = exchange.request.json;
    const request = running.get(String(user))!;
    request.forwards++;
    if (Number(model) === request.one.leaves?.at) {
      request.arrived.resolve();
      await request.left.promise;
      if (exchange.response.destroyed) return;
    }
    await outcomesOf(request.one)[Number(model)]!.script!(exchange);
  });
});
afterAll(async () => {
  await gateway.close();
  await expectSettled(world);
  await closeWorld(world);
});

interface Expected {
  attempts: { provider: string; status: number | null; outcome: string }[];
  charged: bigint;
  policy: string | null;
  disconnect: string | null;
}

/** What becomes of it, worked out from what its last attempt means alone. */
function expected(one: Case, bodyBytes: number): Expected {
  const made = attemptsOf(one);
  const attempts = made.map((outcome) => ({
    provider: providerOf(outcome),
    status: outcome.status,
    outcome: outcome.outcome,
  }));
  const estimate = (output: number): bigint => BigInt(Math.ceil(bodyBytes / 4)) * INPUT + BigInt(output) * OUTPUT;
  const left = one.kind === 'stream' ? one.leaves : null;
  if (left?.policy === 'abort') {
    attempts[attempts.length - 1] = { ...attempts.at(-1)!, status: null, outcome: 'abandoned' };
    return { attempts, charged: estimate(0), policy: 'on_disconnect: abort', disconnect: 'aborted' };
  }
  const { charge } = made.at(-1)!;
  const byTimeout = `on_upstream_timeout: ${one.onTimeout}`;
  if (typeof charge === 'object' && 'outputIfEstimated' in charge) {
    const charged = one.onTimeout === 'estimate' ? estimate(charge.outputIfEstimated) : 0n;
    return { attempts, charged, policy: byTimeout, disconnect: null };
  }
  const charged = charge === 'nothing' ? 0n : charge === 'reported' ? REPORTED : estimate(charge.output);
  if (left === null || charge === 'nothing') return { attempts, charged, policy: null, disconnect: null };
  return { attempts, charged, policy: 'on_disconnect: drain', disconnect: 'drained' };
}

async function run(one: Case, name: string): Promise<void> {
  const request: Running = { one, forwards: 0, arrived: Promise.withResolvers(), left: Promise.withResolvers() };
  running.set(name, request);
  const body = JSON.stringify({
    ...{ model: modelOf(one), user: name, stream: one.kind === 'stream' },
    messages: [{ role: 'user', content: 'Say hello' }],
  });
  const by = one.leaves === null ? account : await createTestAccount(world, '1000');
  const leave = new AbortController();
  const answer = fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${by.key}` },
    body,
    signal: leave.signal,
  });
  let id: string | null = null;
  const made = attemptsOf(one);
  if (one.leaves === null) {
    const response = await answer;
    id = response.headers.get('x-request-id');
    const text = await response.text().catch(() => null);
    const { answer: status, breaks } = made.at(-1)!;
    expect({ name, status: response.status }).toEqual({ name, status });
    if (breaks) expect(text ?? '"error"').toContain('"error"');
    else expect(text).not.toBeNull();
  } else {
    const early = ({ status }: Response) =>
      Promise.reject(new Error(`${name}: answered ${status} before its client left`));
    const left = answer.then(early, () => request.left.promise);
    await Promise.race([request.arrived.promise, left]);
    leave.abort();
    await left;
  }
  const entries = () =>
    world.pool.query<{ amount: string; receipt: Buffer }>(
      'SELECT amount, receipt FROM entries WHERE account_id = $1 AND kind IN (2, 3, 4, 5) AND ($2::uuid IS NULL OR id = $2)',
      [by.account, id === null ? null : parsePublicUuid('req', id)],
    );
  await eventually(async () => (await entries()).rowCount! > 0, `${name} is settled`);
  const { rows } = await entries();
  const { forwards } = request;
  const { attempts, policy = null, disconnect, held } = decodeReceipt(rows[0]!.receipt).settled!;
  const told = {
    ...{ forwards, entries: rows.length, charged: -BigInt(rows[0]!.amount), policy, disconnect },
    attempts: attempts.map(({ provider, status, outcome }) => ({ provider, status, outcome })),
  };
  expect({ name, ...told }).toEqual({
    ...{ name, forwards: made.filter(({ script }) => script).length, entries: 1 },
    ...expected(one, Buffer.byteLength(body)),
  });
  expect(told.charged).toBeLessThanOrEqual(held);
}

const AT_ONCE = 32;
const APART_MS = 10;

it(`each of ${ALL.length} is settled once, as its last attempt says`, async () => {
  const named = ALL.map((one, i) => [one, `${i}: ${nameOf(one)}`] as const);
  const isSlow = ([one]: (typeof named)[number]): boolean => attemptsOf(one).some(({ isSilent }) => isSilent);
  const rest = named.filter((one) => !isSlow(one));
  const worker = async (): Promise<void> => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) await run(...next);
  };
  // Those whose provider is silent do nothing but wait, all at the same time; but all holds at once might wait too long for the ledger.
  const slow = named.filter(isSlow).map(async (one, i) => {
    await sleep(i * APART_MS);
    await run(...one);
  });
  await Promise.all([...slow, ...Array.from({ length: AT_ONCE }, worker)]);
  expect(hold).toHaveBeenCalledTimes(ALL.length);
}, 180_000);
