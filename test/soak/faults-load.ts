/**
 * Load on real gateways from clients of their own account each, and the account of it: what the upstream says it served, what each
 * client got, and what the ledger must therefore have charged.
 *
 *   sent ──▶ answered whole          charged what was served
 *     ├────▶ refused (503)           never reached the upstream, charged nothing
 *     └────▶ its gateway was killed  charged between its floor and its hold, or nothing when it was not forwarded yet
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { chargedTo, createTestAccount, post, type TestAccount, type World } from '../support/gateway.ts';
import { drip, json, type Script, stream, type Usage, usage } from '../support/scripted-upstream.ts';

export type Slot = 'a' | 'b';
export const SLOTS: readonly Slot[] = ['a', 'b'];

const FRAMES_PER_SECOND = 4;
const AFTER_REFUSAL_MS = 100;
const POLL_MS = 20;
/** Nano-credits a token, as in the catalog of these tests. */
const INPUT_NANO = 1_000_000n;
const OUTPUT_NANO = 2_000_000n;
const MAX_OUTPUT = 1_000n;

export interface Sent {
  marker: string;
  slot: Slot;
  bytes: number;
  stream: boolean;
  sentAt: number;
  ms: number;
  /** `null`: the connection broke, or none came about. */
  status: number | null;
  whole: boolean;
  /** Its gateway was killed while it ran. */
  died: boolean;
}

export interface Client {
  slot: Slot;
  account: TestAccount;
  sent: Sent[];
}

/** Answers with a usage of its own each time, after as long as the request says, if it does. */
export const varied: Script = async (exchange) => {
  const { json: body } = exchange.request;
  const prompt = 50 + Math.floor(Math.random() * 50);
  if (body.stream === true) {
    const pieces = Array.from({ length: Number(body.seconds) * FRAMES_PER_SECOND }, () => ' word');
    await stream({ pieces, usage: usage(prompt, pieces.length) }, drip(1_000 / FRAMES_PER_SECOND))(exchange);
  } else {
    await sleep(body.seconds === undefined ? Math.random() * 100 : Number(body.seconds) * 1_000);
    await json({ usage: usage(prompt, 1 + Math.floor(Math.random() * 400)) })(exchange);
  }
};

export class Load {
  readonly sent: Sent[] = [];
  readonly #world: World;
  readonly #urlOf: (slot: Slot) => string | null;
  readonly #clients: Client[] = [];
  readonly #running = new Set<Promise<unknown>>();
  readonly #inFlight = new Set<Sent>();
  #paused = true;
  #count = 0;

  /** `urlOf`: where a gateway listens; `null` while it does not run. */
  constructor(world: World, urlOf: (slot: Slot) => string | null) {
    this.#world = world;
    this.#urlOf = urlOf;
    world.upstream.script(varied);
  }

  /** Starts this many clients of each gateway; each sends one request after the other until `pause`. */
  async start(perGateway: number): Promise<void> {
    this.#paused = false;
    for (const slot of SLOTS) {
      for (let i = 0; i < perGateway; i++) this.#run(this.#repeat(await this.newClient(slot)));
    }
  }

  /** A client whose key its gateway has never seen. */
  async newClient(slot: Slot): Promise<Client> {
    const client = { slot, account: await createTestAccount(this.#world, '100000'), sent: [] };
    this.#clients.push(client);
    return client;
  }

  /** Sends one request, whose answer takes so many seconds. */
  send(client: Client, more: { stream: boolean; seconds: number }): void {
    this.#run(this.#request(client, more));
  }

  /** Sends nothing more, and waits until all that runs has ended. */
  async pause(): Promise<void> {
    this.#paused = true;
    await Promise.all(this.#running);
  }

  /** Waits for the first request of a gateway sent after `at` that is served; how many milliseconds after `at` that was. */
  async servedAfter(at: number, slot: Slot): Promise<number> {
    for (;;) {
      const first = this.sent.find((sent) => sent.slot === slot && sent.sentAt >= at && sent.whole && !sent.stream);
      if (first !== undefined) return first.sentAt + first.ms - at;
      await sleep(POLL_MS);
    }
  }

  /** How many streams that were sent before `at` still run. */
  streamsSince(at: number): number {
    return [...this.#inFlight].filter((sent) => sent.stream && sent.sentAt < at).length;
  }

  /** Notes that the gateway was killed: what it was working on is charged within bounds. */
  died(slot: Slot): void {
    for (const sent of this.#inFlight) if (sent.slot === slot) sent.died = true;
  }

  /**
   * What the clients saw, and were charged, that they should not have; empty when all is right. To be asked when all is over;
   * the clients are forgotten then.
   */
  async faults(): Promise<string[]> {
    const { requests, served } = this.#world.upstream;
    const seen = new Set(requests.map(({ json: body }) => String(body.user)));
    const usages = new Map(served.map(({ request, usage: stated }) => [String(request.json.user), stated]));
    const faults = this.sent.splice(0).flatMap((sent) => faultOf(sent, seen.has(sent.marker)));
    for (const client of this.#clients.splice(0)) {
      const charged = await chargedTo(this.#world, client.account.account);
      let [least, most] = [0n, 0n];
      for (const sent of client.sent) {
        const [low, high] = boundsOf(sent, seen.has(sent.marker), usages.get(sent.marker));
        least += low;
        most += high;
      }
      if (charged < least || charged > most) {
        faults.push(
          `the account of ${client.sent[0]?.marker} and on was charged ${charged}, must be ${least} to ${most}`,
        );
      }
    }
    return faults;
  }

  #run(work: Promise<unknown>): void {
    const running = work.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #repeat(client: Client): Promise<void> {
    while (!this.#paused) {
      const { status } = await this.#request(client, {});
      if (status !== 200) await sleep(AFTER_REFUSAL_MS);
    }
  }

  async #request(client: Client, more: { stream?: boolean; seconds?: number }): Promise<Sent> {
    const marker = `${client.slot}-${++this.#count}`;
    const body = JSON.stringify({
      model: 'plain',
      user: marker,
      ...more,
      messages: [{ role: 'user', content: 'Say hello' }],
    });
    const sent: Sent = {
      ...{ marker, slot: client.slot, bytes: body.length, stream: more.stream === true, sentAt: performance.now() },
      ...{ ms: 0, status: null, whole: false, died: false },
    };
    const url = this.#urlOf(client.slot);
    if (url === null) return sent;
    this.sent.push(sent);
    client.sent.push(sent);
    this.#inFlight.add(sent);
    try {
      const response = await post({ url }, client.account.key, body);
      sent.status = response.status;
      const text = await response.text();
      sent.whole = sent.status === 200 && (!sent.stream || text.endsWith('data: [DONE]\n\n'));
    } catch {
      // The connection broke: `whole` stays false.
    }
    sent.ms = performance.now() - sent.sentAt;
    this.#inFlight.delete(sent);
    return sent;
  }
}

/** What a request saw that it should not have. */
function faultOf(sent: Sent, seen: boolean): string[] {
  if (sent.died) return [];
  const what = `${sent.marker} (${sent.stream ? 'stream, ' : ''}${sent.status ?? 'broken'} after ${Math.round(sent.ms)} ms)`;
  if (sent.status === 200) return sent.whole ? [] : [`${what} was cut short while its gateway lived`];
  if (seen) return [`${what} was forwarded and not answered`];
  return sent.status === 503 || sent.status === null ? [] : [`${what} was neither served nor refused with 503`];
}

/** The least and the most that a request may be charged, in nano-credits. */
function boundsOf(sent: Sent, seen: boolean, served: Usage | undefined): [bigint, bigint] {
  const exact =
    served === undefined
      ? 0n
      : BigInt(served.prompt_tokens) * INPUT_NANO + BigInt(served.completion_tokens) * OUTPUT_NANO;
  if (sent.whole || !sent.died) return [exact, exact];
  const floor = BigInt(Math.ceil(sent.bytes / 4)) * INPUT_NANO;
  const hold = BigInt(sent.bytes) * INPUT_NANO + MAX_OUTPUT * OUTPUT_NANO;
  return [seen ? floor : 0n, hold];
}
