/**
 * Interleaved rounds: in each, every contender answers for a while in every mode, in random order. What disturbs the
 * machine for longer than a phase disturbs all of a round alike, and leaves their ratios.
 */
import { availableParallelism } from 'node:os';
import { cpuSeconds, machineCpuSeconds, postgresCpuSeconds, walBytes } from './cost.ts';
import type { Load, LoadResult } from './load-generator.ts';
import { type Contender, DIRECT, type Rig, TOLLGATE } from './rig.ts';
import { MODES, type Mode } from './workload.ts';

export interface Plan {
  /** Measured rounds. One more runs before them, to warm up, and is thrown away. */
  rounds: number;
  /** No round begins that would end later than this after the start of the process. */
  budgetMs: number;
  warmUpMs: number;
  measuredMs: number;
  /** One connection alone: what a request takes when nothing else runs. */
  alone: { warmUpMs: number; measuredMs: number };
}

/** One contender in one mode for one phase of one round. CPU in seconds, WAL in bytes, both for 1,000 requests or one. */
export interface Sample {
  round: number;
  contender: string;
  mode: Mode;
  connections: number;
  result: LoadResult;
  cpuPer1k: { contender: number; database: number; load: number; mock: number };
  walPerRequest: number;
  /** The share of all cores that processes took which are not the benchmark's: it was disturbed that much. */
  strangers: number;
}

export const CONNECTIONS = 64;
const FIRST_WARM_UP_MS = 1_000;
const PATIENCE_MS = 30_000;

export async function runRounds(rig: Rig, plan: Plan, progress: (line: string) => void): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round <= plan.rounds; round++) {
    const beganAt = performance.now();
    const found: Sample[] = [];
    for (const phase of shuffled(phases(rig, plan, round))) {
      const sample = await measure(rig, round, phase.contender, phase.load);
      samples.push(sample);
      found.push(sample);
      if (sample.result.faults.length > 0) return samples;
    }
    if (round === 0) await rig.database.maintenance.query('CHECKPOINT');
    progress(describe(round, plan.rounds, found));
    const now = performance.now();
    if (now + (now - beganAt) > plan.budgetMs) break;
  }
  return samples;
}

function phases(rig: Rig, plan: Plan, round: number): { contender: Contender; load: Load }[] {
  return rig.contenders.flatMap((contender) =>
    MODES.flatMap((mode) => {
      const { port, accounts } = contender;
      const crowd: Load = {
        ...{ port, accounts, mode, connections: CONNECTIONS, measuredMs: plan.measuredMs },
        warmUpMs: round === 0 ? FIRST_WARM_UP_MS : plan.warmUpMs,
      };
      const compared = contender.name === DIRECT || contender.name === TOLLGATE;
      const loads = compared ? [crowd, { port, accounts, mode, connections: 1, ...plan.alone }] : [crowd];
      return loads.map((load) => ({ contender, load }));
    }),
  );
}

async function measure(rig: Rig, round: number, contender: Contender, load: Load): Promise<Sample> {
  const before = await costs(rig, contender);
  const patience = load.warmUpMs + load.measuredMs + PATIENCE_MS;
  const result = await rig.load.ask<LoadResult>(load, patience);
  // What the ledger leaves to be tidied up is its own cost, and must not disturb the next contender.
  if (contender.metered) await rig.database.maintenance.query('VACUUM wallets, holds, entries');
  const after = await costs(rig, contender);
  const per = (cost: (at: typeof before) => number, requests: number): number =>
    ((cost(after) - cost(before)) / result.answered) * requests;
  return {
    ...{ round, mode: load.mode, connections: load.connections, contender: contender.name, result },
    cpuPer1k: {
      contender: per((at) => at.contender, 1000),
      database: per((at) => at.database, 1000),
      load: per((at) => at.load, 1000),
      mock: per((at) => at.mock, 1000),
    },
    walPerRequest: per((at) => at.wal, 1),
    strangers: (after.strangers - before.strangers) / ((after.at - before.at) * availableParallelism()),
  };
}

async function costs(rig: Rig, { pid }: Contender) {
  const wal = await walBytes(rig.database.pool);
  const contender = cpuSeconds(pid);
  const database = postgresCpuSeconds(rig.database.postmaster);
  const [load, mock] = [cpuSeconds(rig.load.pid), cpuSeconds(rig.mock.pid)];
  const ours = database + load + mock + (pid === rig.mock.pid ? 0 : contender);
  return { at: performance.now() / 1000, wal, contender, database, load, mock, strangers: machineCpuSeconds() - ours };
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

function describe(round: number, rounds: number, samples: readonly Sample[]): string {
  const speeds = MODES.map((mode) => {
    const of = samples.filter((sample) => sample.mode === mode && sample.connections === CONNECTIONS);
    const each = of.map((sample) => `${sample.contender} ${Math.round(sample.result.perSecond)}`).sort();
    return `${mode}: ${each.join(', ')}`;
  });
  const name = round === 0 ? 'warm-up, thrown away' : `round ${round} of ${rounds}`;
  return `${name}; requests a second: ${speeds.join(' · ')}`;
}
