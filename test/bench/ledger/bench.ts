/** `npm run bench -- ledger`: the ledger alone, and what the textbook gives in its place. See docs/benchmark.md. */
import { median } from '../statistics.ts';
import type { Ledger } from './ledger.ts';
import { closedLoop } from './load.ts';
import { CLIENTS, closed, grown, MANY, ONE, OPEN, PAIRS_PER_SECOND, TEXTBOOK } from './names.ts';
import { measure, type Phase, type Sample } from './phases.ts';
import type { Outcome } from './report.ts';
import type { Progress, Site } from './site.ts';

export interface Plan {
  /** Measured rounds. One shorter one runs before them, to warm up, and is thrown away. */
  rounds: number;
  /** No round begins that would end later than this after the start of the process. */
  budgetMs: number;
  warmUpMs: number;
  measuredMs: number;
  accounts: number;
  /** Entries of the ledgers with a past, multiples of `accounts`. A new one has a grant for each account. */
  sizes: number[];
}

const ACCOUNTS = 10_000;
export const QUICK: Plan = {
  ...{ rounds: 4, budgetMs: 95_000, warmUpMs: 250, measuredMs: 1_000 },
  ...{ accounts: ACCOUNTS, sizes: [1_000_000] },
};
export const FULL: Plan = {
  ...{ rounds: 7, budgetMs: 1_500_000, warmUpMs: 1_000, measuredMs: 2_500 },
  ...{ accounts: ACCOUNTS, sizes: [1_000_000, 10_000_000] },
};

const CROWDS = [1, 16, 64, 200];
const TEXTBOOK_CONNECTIONS = [8, 16, 32];

/** Runs it all on a database of its own. Throws when a pair is refused; what does not agree at the end is in `faults`. */
export async function runBench(site: Site, plan: Plan, progress: Progress): Promise<Outcome> {
  progress('making the ledgers');
  await site.setUp(plan.sizes, progress);
  const connections = await bestConnections(site, plan.measuredMs);
  const { samples, phases, faults } = await runRounds(site, plan, progress);
  return {
    ...{ samples, phases, sizes: [plan.accounts, ...site.old.map(({ entries }) => entries)] },
    notes: [
      `Many accounts are ${plan.accounts.toLocaleString('en')}. The textbook did best over ${connections} of ${TEXTBOOK_CONNECTIONS.join(', ')} connections.`,
      ...site.notes,
      disturbance(samples),
    ],
    faults: [...faults, ...(await site.faults(progress))],
  };
}

/** How many connections serve the textbook best; it has them from now on. */
async function bestConnections({ textbook }: Site, measuredMs: number): Promise<number> {
  const tried: { connections: number; perSecond: number }[] = [];
  for (const connections of TEXTBOOK_CONNECTIONS) {
    await textbook.use(connections);
    const { pairs, seconds } = await closedLoop(() => textbook.pair(), CLIENTS, measuredMs);
    tried.push({ connections, perSecond: pairs / seconds });
  }
  const best = tried.reduce((a, b) => (b.perSecond > a.perSecond ? b : a));
  await textbook.use(best.connections);
  return best.connections;
}

/** Interleaved: in each round every phase once, in random order. What disturbs the machine for longer disturbs all of them. */
async function runRounds(
  site: Site,
  plan: Plan,
  progress: Progress,
): Promise<{ samples: Sample[]; phases: string[]; faults: string[] }> {
  const samples: Sample[] = [];
  let names: string[] = [];
  const faults: string[] = [];
  for (let round = 0; round <= plan.rounds; round++) {
    const beganAt = performance.now();
    const young = await site.newYoung();
    const phases = phasesOf(site, young, round);
    names = phases.map(({ name }) => name);
    for (const phase of shuffled(phases)) {
      samples.push(
        await measure(site.server, round, phase, plan.warmUpMs, round === 0 ? plan.warmUpMs : plan.measuredMs),
      );
    }
    for (const fault of await young.faults()) faults.push(`new ledger of round ${round}: ${fault}`);
    await young.close();
    progress(describe(round, plan.rounds, samples));
    const now = performance.now();
    if (now + (now - beganAt) > plan.budgetMs) break;
  }
  return { samples, phases: names, faults };
}

function phasesOf(site: Site, young: Ledger, round: number): Phase[] {
  // One that is hot for a round only: what a request costs must not depend on how long the run is.
  const hot = site.hot[round]!;
  const on = (ledger: Ledger, accounts: readonly bigint[]): Pick<Phase, 'pair' | 'vacuum'> => {
    let turn = 0;
    return { pair: () => ledger.pair(accounts[turn++ % accounts.length]!), vacuum: () => ledger.vacuum() };
  };
  const { main, many, old, textbook } = site;
  const compared = [{ entries: many.length, ledger: young }, ...old];
  return [
    ...CROWDS.map((clients) => ({ name: closed(ONE, clients), load: { clients }, ...on(main, [hot]) })),
    { name: OPEN, load: { perSecond: PAIRS_PER_SECOND }, ...on(main, [hot]) },
    ...CROWDS.map((clients) => ({ name: closed(MANY, clients), load: { clients }, ...on(main, many) })),
    ...compared.map(({ entries, ledger }) => ({
      ...{ name: grown(entries), load: { clients: CLIENTS }, warmUpPairs: many.length },
      ...on(ledger, many),
    })),
    {
      ...{ name: TEXTBOOK, load: { clients: CLIENTS } },
      ...{ pair: () => textbook.pair(), vacuum: () => textbook.vacuum() },
    },
  ];
}

/** How much of the CPU went to others, and what that means. */
function disturbance(samples: readonly Sample[]): string {
  const share = 100 * median(samples.filter(({ round }) => round > 0).map(({ strangers }) => strangers));
  const verdict = share > 5 ? ': too much for the figures to mean anything. Run it again on an idle machine' : '';
  return `Other processes took ${share.toFixed(1)} % of the CPU meanwhile${verdict}.`;
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

function describe(round: number, rounds: number, samples: readonly Sample[]): string {
  const of = (name: string): string => {
    const found = samples.find((sample) => sample.round === round && sample.phase === name);
    return `${name}: ${Math.round(found?.perSecond ?? 0)}`;
  };
  const name = round === 0 ? 'warm-up, thrown away' : `round ${round} of ${rounds}`;
  return `${name}; pairs a second: ${[closed(ONE, CLIENTS), closed(MANY, CLIENTS), TEXTBOOK].map(of).join(' · ')}`;
}
