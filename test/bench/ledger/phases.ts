/** One phase: a load on a ledger (or on the textbook) for a while, and what it cost. */
import { availableParallelism } from 'node:os';
import { median, quantile } from '../statistics.ts';
import { arrivals, closedLoop, type LoadResult, openLoop, type Pair } from './load.ts';
import type { Costs, Server } from './server.ts';

/** So many clients in a closed loop, or so many pairs a second in an open one. */
export type Load = { clients: number } | { perSecond: number };

export interface Phase {
  name: string;
  load: Load;
  pair: Pair;
  /**
   * Pairs that the warm-up must have made, however long it takes. After a checkpoint, and after other phases had the machine, the
   * first write to a page costs an image of it in the log, and its way back into the caches: that is once in five minutes, and no
   * cost of a pair.
   */
  warmUpPairs?: number;
  /** Tidies up after the load: that is part of its cost, and must not disturb the next phase. */
  vacuum: () => Promise<void>;
}

/** What one phase of one round gave. Costs are those of one pair. */
export interface Sample {
  round: number;
  phase: string;
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU of all of Postgres, and of this process. */
  databaseUs: number;
  nodeUs: number;
  walBytes: number;
  commits: number;
  /** The share of all cores that processes took which are not the benchmark's: it was disturbed that much. */
  strangers: number;
}

export async function measure(
  server: Server,
  round: number,
  phase: Phase,
  warmUpMs: number,
  measuredMs: number,
): Promise<Sample> {
  for (let pairs = 0, first = true; first || pairs < (phase.warmUpPairs ?? 0); first = false) {
    pairs += (await run(phase, warmUpMs)).pairs;
  }
  await phase.vacuum();
  const before = await server.costs();
  const result = await run(phase, measuredMs);
  await phase.vacuum();
  return sampleOf(round, phase.name, result, before, await server.costs());
}

function run({ load, pair }: Phase, forMs: number): Promise<LoadResult> {
  return 'clients' in load ? closedLoop(pair, load.clients, forMs) : openLoop(pair, arrivals(load.perSecond, forMs));
}

export function sampleOf(round: number, phase: string, result: LoadResult, before: Costs, after: Costs): Sample {
  const spent = (cost: keyof Costs): number => after[cost] - before[cost];
  const ofPair = (cost: keyof Costs): number => spent(cost) / result.pairs;
  return {
    ...{ round, phase, perSecond: result.pairs / result.seconds },
    p50Ms: median(result.latenciesMs),
    p99Ms: quantile(result.latenciesMs, 0.99),
    databaseUs: ofPair('database') * 1e6,
    nodeUs: ofPair('node') * 1e6,
    walBytes: ofPair('walBytes'),
    commits: ofPair('commits'),
    strangers: (spent('machine') - spent('database') - spent('node')) / (spent('at') * availableParallelism()),
  };
}
