/**
 * Many streams through one gateway process, beside the bare proxy of the benchmark: a thousand open ones, each frame of which must
 * come intact and in order, for the memory that they take; then a hundred quick ones, for the time that the gateway adds to their
 * first byte and to the gaps between their frames; then the same hundred while sounds of 25 MB and pictures of 10 MB pass beside them.
 * About two minutes. `npm run soak:streams`; with numbers behind it, so many slow streams for so many seconds, and so many rounds of
 * quick ones. Memory is read from Linux's /proc.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, endAll, makeFolder, openDatabase, settingsOf } from '../bench/gateway.ts';
import { Child } from '../bench/processes.ts';
import { seedAccounts } from '../bench/seed.ts';
import { median, quantile } from '../bench/statistics.ts';
import { INPUT_NANO, OUTPUT_NANO } from '../bench/workload.ts';
import { type Plan, runStreams, type Seen } from './streams-client.ts';
import type { LargeSeen } from './streams-large.ts';
import { CATALOG, INPUT_TOKENS, PICTURE_NANO, SOUND_NANO } from './streams-wire.ts';

const [STREAMS, SECONDS, ROUNDS] = [1_000, 20, 3].map((usual, i) => Number(process.argv[2 + i] ?? usual)) as [
  number,
  number,
  number,
];
const ACCOUNTS = 20;
const SLOW = { everyMs: 200, apartMs: 4 };
const QUICK = { streams: 100, everyMs: 20, frames: 150, apartMs: 10 };
const AIM_MB = 80;
/** One sound and one picture at a time: what is in memory of both is pieces, and what of pieces is not collected yet. */
const MOST_LARGE_MB = 120;
const SAMPLE_MS = 500;

/** Where each contender listens. */
type Ports = Record<string, number>;
type Rates = Record<'first byte p50' | 'first byte p99' | 'gap p50' | 'gap p99', number>;

const startedAt = performance.now();
function say(text: string): void {
  console.info(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${text}`);
}

function fail(text: string): void {
  say(`FAULT ${text}`);
  process.exitCode = 1;
}

/** What a process has in memory, in MB; NaN without /proc. */
function memoryOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
  } catch {
    return Number.NaN;
  }
}

function judge(name: string, seen: Seen, plan: Plan): void {
  for (const fault of seen.faults.slice(0, 5)) fail(`${name}: ${fault}`);
  if (seen.whole !== plan.streams) fail(`${name}: ${seen.whole} of ${plan.streams} streams came whole`);
}

/** What is charged for all streams so far is what the upstream reported. */
async function judgeCharges(database: Database, plans: readonly Plan[], large: LargeSeen): Promise<void> {
  const { rows } = await database.pool.query<{ charged: string }>(
    'SELECT coalesce(-sum(amount), 0) AS charged FROM entries WHERE kind = 2',
  );
  const cost = ({ streams, frames }: Plan): bigint =>
    BigInt(streams) * (BigInt(INPUT_TOKENS) * INPUT_NANO + BigInt(frames) * OUTPUT_NANO);
  const beside = BigInt(large.sounds) * SOUND_NANO + BigInt(large.pictures) * PICTURE_NANO;
  const served = plans.reduce((sum, plan) => sum + cost(plan), beside);
  if (BigInt(rows[0]!.charged) !== served) fail(`${rows[0]!.charged} nano-credits are charged, ${served} were served`);
}

/** The memory of a process while something goes on, in MB. */
async function sampled<T>({ pid }: Child, work: Promise<T>): Promise<[T, number[]]> {
  const samples = [memoryOf(pid)];
  const sampling = setInterval(() => samples.push(memoryOf(pid)), SAMPLE_MS);
  const result = await work;
  clearInterval(sampling);
  return [result, samples];
}

/** Opens the slow streams; the memory of the gateway before, and the most while they were open. */
async function slowStreams(gateway: Child, plan: Plan): Promise<void> {
  const before = memoryOf(gateway.pid);
  const [seen, samples] = await sampled(gateway, runStreams(plan));
  judge('slow streams', seen, plan);
  if (seen.mostOpen < plan.streams)
    fail(`no more than ${seen.mostOpen} streams were open at once: the machine is too busy`);
  const most = Math.max(...samples);
  const each = ((most - before) * 1_000) / seen.mostOpen;
  say(
    `${plan.streams} streams: ${before.toFixed(0)} MB before, ${median(samples).toFixed(0)} MB in the middle, at most ${most.toFixed(0)} MB`,
  );
  say(`${each.toFixed(1)} MB for 1,000 streams (aim: ${AIM_MB})`);
  if (plan.streams >= 1_000 && each > AIM_MB) fail('the streams take more memory than is aimed at');
  console.table({ [`${plan.streams} streams at ${plan.everyMs} ms`]: rounded(ratesOf([seen])) });
}

function ratesOf(all: readonly Seen[]): Rates {
  const of = (samples: (seen: Seen) => number[], share: number): number =>
    median(all.map((seen) => quantile(samples(seen), share)));
  return {
    'first byte p50': of(({ firstByteMs }) => firstByteMs, 0.5),
    'first byte p99': of(({ firstByteMs }) => firstByteMs, 0.99),
    'gap p50': of(({ gapMs }) => gapMs, 0.5),
    'gap p99': of(({ gapMs }) => gapMs, 0.99),
  };
}

const rounded = (rates: Rates): Record<string, string> =>
  Object.fromEntries(Object.entries(rates).map(([name, ms]) => [`${name}, ms`, ms.toFixed(2)]));

/** What passes beside the streams of a round, through the same contender. */
type Beside = (port: number) => Promise<void>;

/** The quick streams of all contenders, in turns; the middle of the rounds is told. */
async function quickStreams(title: string, ports: Ports, keys: string[], beside?: Beside): Promise<Plan[]> {
  const seen: Record<string, Seen[]> = {};
  const metered: Plan[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, port] of Object.entries(ports)) {
      const plan = { port, keys, ...QUICK };
      const [one] = await Promise.all([runStreams(plan), beside?.(port)]);
      judge(name, one, plan);
      seen[name] = [...(seen[name] ?? []), one];
      if (name === TOLLGATE) metered.push(plan);
    }
    say(`${title}: round ${round + 1} of ${ROUNDS}`);
  }
  const rates = Object.fromEntries(Object.entries(seen).map(([name, all]) => [name, ratesOf(all)]));
  console.table(Object.fromEntries(Object.entries(rates).map(([name, all]) => [name, rounded(all)])));
  const added = (rate: keyof Rates): string => (rates[TOLLGATE]![rate] - rates[BARE]![rate]).toFixed(2);
  say(
    `${title}: added to the bare proxy ${added('first byte p50')} ms to the first byte (p99 ${added('first byte p99')}), ${added('gap p99')} ms to the p99 of gaps`,
  );
  return metered;
}

/** The quick streams while large bodies pass through the same contender: the gaps of the frames, and the memory of the gateway. */
async function besideLarge(gateway: Child, ports: Ports, keys: string[]): Promise<[Plan[], LargeSeen]> {
  const { child } = await Child.start('../soak/streams-large.ts', [keys[0]!]);
  children.push(child);
  const seconds = (QUICK.frames * QUICK.everyMs) / 1_000;
  const passed: Record<number, LargeSeen> = {};
  const before = memoryOf(gateway.pid);
  const running = quickStreams('beside large bodies', ports, keys, async (port) => {
    const { sounds, pictures, faults } = await child.ask<LargeSeen>({ port, seconds }, 120_000);
    for (const fault of faults) fail(fault);
    const all = passed[port] ?? { sounds: 0, pictures: 0, faults };
    passed[port] = { sounds: all.sounds + sounds, pictures: all.pictures + pictures, faults };
  });
  const [plans, samples] = await sampled(gateway, running);
  const grown = Math.max(...samples) - before;
  for (const [name, port] of Object.entries(ports))
    say(`${name}: ${passed[port]!.sounds} sounds of 25 MB and ${passed[port]!.pictures} pictures of 10 MB passed`);
  say(`${grown.toFixed(0)} MB more memory`);
  if (grown > MOST_LARGE_MB) fail('what is large takes more memory than it may');
  return [plans, passed[ports[TOLLGATE]!]!];
}

const BARE = 'bare Fastify + undici';
const TOLLGATE = 'Tollgate';

const folder = makeFolder();
const children: Child[] = [];
let database: Database | null = null;
async function start(script: string, args: string[] = []): Promise<{ child: Child; port: number }> {
  const { child, ready } = await Child.start<{ port: number }>(script, args);
  children.push(child);
  return { child, port: ready.port };
}
try {
  const upstream = await start('../soak/streams-upstream.ts');
  const url = `http://127.0.0.1:${upstream.port}`;
  const bare = await start('contenders/bare.ts', [url]);
  const gateway = await start('contenders/tollgate.ts', [settingsOf(folder, `${url}/v1`, CATALOG)]);
  const opened = await openDatabase(folder);
  database = opened.database;
  const keys = await seedAccounts(database.pool, opened.url, ACCOUNTS);
  const ports = { direct: upstream.port, [BARE]: bare.port, [TOLLGATE]: gateway.port };

  const warmUp = { keys, ...QUICK, streams: 50, frames: 20 };
  for (const port of Object.values(ports)) judge('warm-up', await runStreams({ ...warmUp, port }), { ...warmUp, port });
  await sleep(1_000);
  say('warm');
  const slow = { port: gateway.port, keys, ...SLOW, streams: STREAMS, frames: (SECONDS * 1_000) / SLOW.everyMs };
  await slowStreams(gateway.child, slow);
  const quick = await quickStreams('quick streams', ports, keys);
  const [beside, large] = await besideLarge(gateway.child, ports, keys);
  await judgeCharges(database, [{ ...warmUp, port: gateway.port }, slow, ...quick, ...beside], large);
  const { broken } = await upstream.child.ask<{ broken: number }>({}, 5_000);
  if (broken > 0) fail(`${broken} streams were broken off at the upstream`);
} finally {
  await endAll(folder, database, children, process.exitCode === 1);
}
say(
  process.exitCode === 1 ? `faults; the log is in ${folder}` : 'every frame came intact and in order, and was charged',
);
