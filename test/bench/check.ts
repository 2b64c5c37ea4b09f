/**
 * `npm run bench -- check`: how long an access check takes, beside `/healthz` of the same gateway, which touches nothing. Rounds are
 * interleaved, alone and with several callers at once.
 *
 *   empty ──start──▶ running ──rounds──▶ running ──close──▶ gone
 */
import { Agent, request } from 'node:http';
import { type Database, endAll, makeFolder, openDatabase, settingsOf } from './gateway.ts';
import { Child } from './processes.ts';
import { seedAccounts } from './seed.ts';
import { quantile } from './statistics.ts';
import { CATALOG, MODEL } from './workload.ts';

type Progress = (line: string) => void;

export interface CheckPlan {
  rounds: number;
  /** Of one kind of call in a round. */
  roundMs: number;
}
export const FULL_CHECK: CheckPlan = { rounds: 10, roundMs: 1_000 };
export const QUICK_CHECK: CheckPlan = { rounds: 4, roundMs: 500 };

/** Each may make 120 calls a minute: together they are enough. */
const ACCOUNTS = 2_000;
const CALLERS = [1, 16];
const CALLS = [
  { what: 'healthz', method: 'GET', path: '/healthz', body: null },
  { what: 'model, allowed', method: 'POST', path: '/account/v1/entitlements/check', body: { model: MODEL } },
  { what: 'feature, denied', method: 'POST', path: '/account/v1/entitlements/check', body: { feature: 'video' } },
] as const;

export interface CheckLine {
  callers: number;
  what: string;
  /** Milliseconds. */
  p50: number;
  p99: number;
  perSecond: number;
}

export class CheckBench {
  folder = '';
  #children: Child[] = [];
  #database: Database | null = null;
  #keys: string[] = [];
  #calls = 0;
  #port = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Math.max(...CALLERS) });

  async run(plan: CheckPlan, progress: Progress): Promise<CheckLine[]> {
    progress('starting a gateway with its Postgres');
    this.folder = makeFolder();
    const settings = settingsOf(this.folder, 'http://127.0.0.1:9/v1', CATALOG);
    const gateway = await Child.start<{ port: number }>('contenders/tollgate.ts', [settings]);
    this.#children.push(gateway.child);
    this.#port = gateway.ready.port;
    const { database, url } = await openDatabase(this.folder);
    this.#database = database;
    this.#keys = await seedAccounts(database.pool, url, ACCOUNTS);
    const lines: CheckLine[] = [];
    for (const callers of CALLERS) lines.push(...(await this.#measure(callers, plan, progress)));
    return lines;
  }

  async close(keepFolder: boolean): Promise<void> {
    this.#agent.destroy();
    await endAll(this.folder, this.#database, this.#children, keepFolder);
  }

  async #measure(callers: number, plan: CheckPlan, progress: Progress): Promise<CheckLine[]> {
    const taken = CALLS.map((): number[] => []);
    // The first round warms up.
    for (let round = 0; round <= plan.rounds; round++) {
      for (const [i, call] of CALLS.entries()) {
        const samples = await this.#round(call, callers, plan.roundMs);
        if (round > 0) taken[i]!.push(...samples);
      }
      progress(`${callers} at once: round ${round} of ${plan.rounds}`);
    }
    return CALLS.map(({ what }, i) => ({
      callers,
      what,
      p50: quantile(taken[i]!, 0.5),
      p99: quantile(taken[i]!, 0.99),
      perSecond: (taken[i]!.length / (plan.rounds * plan.roundMs)) * 1_000,
    }));
  }

  async #round(call: (typeof CALLS)[number], callers: number, forMs: number): Promise<number[]> {
    const samples: number[] = [];
    const end = performance.now() + forMs;
    const caller = async (): Promise<void> => {
      while (performance.now() < end) samples.push(await this.#call(call));
    };
    await Promise.all(Array.from({ length: callers }, caller));
    return samples;
  }

  #call({ method, path, body }: (typeof CALLS)[number]): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const payload = body === null ? '' : JSON.stringify(body);
    const key = this.#keys[this.#calls++ % this.#keys.length]!;
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'content-length': payload.length,
    };
    const began = performance.now();
    request({ port: this.#port, host: '127.0.0.1', method, path, headers, agent: this.#agent }, (answer) => {
      answer.resume().on('end', () => {
        if (answer.statusCode === 200) resolve(performance.now() - began);
        else reject(new Error(`${path} was answered ${answer.statusCode}`));
      });
    })
      .on('error', reject)
      .end(payload);
    return promise;
  }
}

/** The lines as a table, p99 drawn. */
export function checkTable(lines: readonly CheckLine[]): string {
  const most = Math.max(...lines.map(({ p99 }) => p99));
  const rows = lines.map(({ callers, what, p50, p99, perSecond }) => {
    const bar = '█'.repeat(Math.ceil((p99 / most) * 30));
    return `${String(callers).padStart(4)}  ${what.padEnd(18)}${p50.toFixed(2).padStart(8)}${p99.toFixed(2).padStart(8)}${perSecond.toFixed(0).padStart(10)}  ${bar}`;
  });
  const head = `  at  ${'call'.padEnd(18)}${'p50'.padStart(8)}${'p99'.padStart(8)}${'a second'.padStart(10)}  p99`;
  return ['An access check beside /healthz, so many callers at once. Milliseconds.', '', head, ...rows].join('\n');
}
