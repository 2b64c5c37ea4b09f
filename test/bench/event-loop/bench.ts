/**
 * `npm run bench -- event-loop`: whether hostile prompts stall what else runs. Streams flow in an even pace while prompts of a
 * megabyte are admitted, for an account with money and for one whose balance is tight, so that tokens are counted. Measured
 * are the delay of the gateway's event loop, and the gaps between frames as a client sees them.
 *
 *   empty ──start──▶ running: quiet, then each kind of prompt ──close──▶ gone
 */
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { NANO_PER_CREDIT } from '../../../src/lib/money.ts';
import { type Database, endAll, makeFolder, openDatabase, settingsOf } from '../gateway.ts';
import { Child } from '../processes.ts';
import { seedAccounts } from '../seed.ts';
import { quantile } from '../statistics.ts';
import { CATALOG, FRAME_MS, FRAMES, MODEL, PROMPTS, PROMPTS_PER_SECOND, STREAMS, TIGHT_CREDITS } from './plan.ts';

/** Milliseconds. */
export interface Delay {
  p50: number;
  p99: number;
  max: number;
}

export interface Phase {
  name: string;
  /** Of the gateway's event loop, beyond what was asked of the timer. */
  loop: Delay;
  /** Between two frames at the client: 20 ms are even. */
  gaps: Delay;
  /** How many prompts got which status, by account. */
  answers: Record<string, number>;
  /** The slowest prompt. */
  slowest: number;
}

const ANSWER_MS = 5_000;

export class EventLoopBench {
  folder = '';
  readonly #agent = new Agent({ keepAlive: true });
  #children: Child[] = [];
  #database: Database | null = null;
  #gateway: Child | null = null;
  #port = 0;
  #keys: Record<'rich' | 'tight', string> = { rich: '', tight: '' };

  async run(progress: (line: string) => void): Promise<{ phases: Phase[]; faults: string[] }> {
    await this.#start();
    const faults: string[] = [];
    // What is loaded at the first use is loaded now: the tokeniser, and the code of each step.
    await this.#phase('warm-up', PROMPTS[0]!.content, faults);
    const phases: Phase[] = [];
    for (const { name, content } of [{ name: 'no prompts', content: null }, ...PROMPTS]) {
      phases.push(await this.#phase(name, content, faults));
      progress(`${name}: done`);
    }
    return { phases, faults: [...new Set(faults)] };
  }

  async close(keepFolder: boolean): Promise<void> {
    this.#agent.destroy();
    await endAll(this.folder, this.#database, this.#children, keepFolder);
  }

  async #start(): Promise<void> {
    this.folder = makeFolder();
    const upstream = await Child.start<{ port: number }>('event-loop/upstream.ts');
    this.#children.push(upstream.child);
    const settings = settingsOf(this.folder, `http://127.0.0.1:${upstream.ready.port}/v1`, CATALOG);
    const gateway = await Child.start<{ port: number }>('contenders/tollgate.ts', [settings]);
    this.#children.push(gateway.child);
    this.#gateway = gateway.child;
    this.#port = gateway.ready.port;
    const { database, url } = await openDatabase(this.folder);
    this.#database = database;
    const [rich] = await seedAccounts(database.pool, url, 1);
    const [tight] = await seedAccounts(database.pool, url, 1, TIGHT_CREDITS * NANO_PER_CREDIT);
    this.#keys = { rich: rich!, tight: tight! };
  }

  async #phase(name: string, content: string | null, faults: string[]): Promise<Phase> {
    const gaps: number[] = [];
    const streams = Array.from({ length: STREAMS }, async (_, i) => {
      await sleep((i * FRAME_MS) / STREAMS);
      await this.#stream(gaps).catch((error: Error) => faults.push(`${name}: a stream: ${error.message}`));
    });
    // Their heads are answered, and their frames flow.
    await sleep(500);
    await this.#gateway!.ask<Delay>({ eventLoop: true }, ANSWER_MS);
    gaps.length = 0;
    const prompts = content === null ? [] : this.#sendPrompts(content, FRAMES * FRAME_MS - 2_000);
    await sleep(FRAMES * FRAME_MS - 1_000);
    const loop = await this.#gateway!.ask<Delay>({ eventLoop: true }, ANSWER_MS);
    const seen = [...gaps];
    await Promise.all(streams);
    const answers: Record<string, number> = {};
    const done = await Promise.all(await Promise.all(prompts));
    for (const { who, status } of done) answers[`${who} ${status}`] = (answers[`${who} ${status}`] ?? 0) + 1;
    const slowest = Math.max(0, ...done.map(({ ms }) => ms));
    const delay = { p50: quantile(seen, 0.5), p99: quantile(seen, 0.99), max: Math.max(...seen) };
    return { name, loop, gaps: delay, answers, slowest };
  }

  #sendPrompts(content: string, forMs: number): Promise<{ who: string; status: number; ms: number }>[] {
    const body = Buffer.from(JSON.stringify({ model: MODEL, max_tokens: 100, messages: [{ role: 'user', content }] }));
    const count = Math.floor((forMs / 1000) * PROMPTS_PER_SECOND);
    return Array.from({ length: count }, async (_, i) => {
      await sleep((i * 1000) / PROMPTS_PER_SECOND);
      const who = i % 2 === 0 ? 'rich' : 'tight';
      const began = performance.now();
      const answer = await this.#post(this.#keys[who], body);
      for await (const _chunk of answer);
      return { who, status: answer.statusCode!, ms: performance.now() - began };
    });
  }

  /** Reads a stream, and notes how long after each other its pieces came. */
  async #stream(gaps: number[]): Promise<void> {
    const body = { stream: true, model: MODEL, messages: [{ role: 'user', content: 'Count.' }] };
    const answer = await this.#post(this.#keys.rich, Buffer.from(JSON.stringify(body)));
    if (answer.statusCode !== 200) throw new Error(`was answered ${answer.statusCode}`);
    let last = performance.now();
    let frames = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      const now = performance.now();
      if (frames > 0) gaps.push(now - last);
      last = now;
      frames += chunk.toString('latin1').split('" word"').length - 1;
    }
    if (frames !== FRAMES) throw new Error(`had ${frames} frames of ${FRAMES}`);
  }

  #post(key: string, body: Buffer): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'content-length': body.length,
    };
    const options = { port: this.#port, host: '127.0.0.1', method: 'POST', path: '/v1/chat/completions' };
    request({ ...options, headers, agent: this.#agent }, resolve)
      .on('error', reject)
      .end(body);
    return promise;
  }
}

/** The phases as a table, the loop's delay drawn. */
export function eventLoopTable(phases: readonly Phase[]): string {
  const ms = (value: number): string => value.toFixed(1).padStart(8);
  const delay = ({ p50, p99, max }: Delay): string => ms(p50) + ms(p99) + ms(max);
  const most = Math.max(...phases.map(({ loop }) => loop.p99));
  const lines = phases.map(({ name, loop, gaps, answers, slowest }) => {
    const told = Object.entries(answers).map(([who, count]) => `${count} × ${who}`);
    const bar = '█'.repeat(Math.ceil((loop.p99 / most) * 20)).padEnd(20);
    return `${name.padEnd(22)}${delay(loop)} │${delay(gaps)} │ ${bar} │ ${told.join(', ')}${slowest > 0 ? `, slowest ${slowest.toFixed(0)} ms` : ''}`;
  });
  const head = `${''.padEnd(22)}${'loop p50     p99     max'.padStart(24)} │${' gap p50     p99     max'.padStart(24)} │ ${'loop p99'.padEnd(20)} │ prompts answered`;
  const what = `${STREAMS} streams, a frame each ${FRAME_MS} ms; ${PROMPTS_PER_SECOND} prompts a second, half of them of an account whose balance is tight. Milliseconds.`;
  return [what, '', head, ...lines].join('\n');
}
