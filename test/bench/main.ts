/**
 * `npm run bench`: what durable metering costs, as ratios of proxies that meter nothing. `npm run bench -- ledger`: what the
 * ledger alone does; `-- usage`: how long `GET usage` takes; `-- event-loop`: whether hostile prompts stall it; `-- check`:
 * how long an access check takes. See docs/benchmark.md.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { CheckBench, checkTable, FULL_CHECK, QUICK_CHECK } from './check.ts';
import { EventLoopBench, eventLoopTable } from './event-loop/bench.ts';
import { ledgerFaults } from './gate.ts';
import { FULL as FULL_LEDGER, QUICK as QUICK_LEDGER, runBench } from './ledger/bench.ts';
import { report as ledgerReport, tables } from './ledger/report.ts';
import { Site } from './ledger/site.ts';
import type { Served } from './mock-upstream.ts';
import { disturbance, report, table } from './report.ts';
import { Rig } from './rig.ts';
import { CONNECTIONS, type Plan, runRounds, type Sample } from './rounds.ts';
import { FULL_USAGE, QUICK_USAGE, textOf, UsageBench } from './usage.ts';

const HELP = `npm run bench -- [ledger | usage | event-loop | check] [--quick] [--json]

  ledger    measures the ledger alone, not the gateway: about 15 minutes, and 11 GB of disk
  usage     measures GET usage at 10,000,000 receipts (--quick: 1,000,000): about 10 minutes, and 11 GB of disk
  event-loop  measures how late the event loop is while prompts of a megabyte come: about a minute
  check     measures POST entitlements/check beside /healthz: about a minute
  --quick   ends within 120 s: fewer and shorter rounds, 1,000 accounts only; no ledger of 10,000,000 entries
  --json    prints one object instead of the table

Exit status: 0 when the run and its ledger gate are good, 1 when not, 2 on a wrong option.`;

const ACCOUNTS = 1_000;
const QUICK: Plan = {
  rounds: 5,
  budgetMs: 100_000,
  ...{ warmUpMs: 300, measuredMs: 1_000 },
  alone: { warmUpMs: 200, measuredMs: 500 },
};
const FULL: Plan = {
  rounds: 7,
  budgetMs: 900_000,
  ...{ warmUpMs: 500, measuredMs: 2_500 },
  alone: { warmUpMs: 300, measuredMs: 1_200 },
};
const OTHER_ACCOUNTS = [1, 10_000];
const ANSWER_MS = 10_000;

const progress = (line: string): void =>
  console.error(`[${(performance.now() / 1000).toFixed(0).padStart(3)} s] ${line}`);

interface Outcome {
  samples: Sample[];
  /** Why the run is void; empty: it is good. */
  faults: string[];
}

async function run(rig: Rig, quick: boolean): Promise<Outcome> {
  progress('starting the mock upstream, the contenders and a Postgres');
  await rig.start(ACCOUNTS, quick ? [] : OTHER_ACCOUNTS);
  const samples = await runRounds(rig, quick ? QUICK : FULL, progress);
  progress('the ledger gate');
  // A charge is committed before an answer ends, so that nothing has to be waited for.
  const served = await rig.mock.ask<Served>({}, ANSWER_MS);
  const metered = new Set(rig.contenders.filter((contender) => contender.metered).map(({ name }) => name));
  const answered = samples.reduce(
    (sum, { contender, result }) => sum + (metered.has(contender) ? result.answered : 0),
    0,
  );
  const broken = samples.flatMap(({ contender, mode, result }) =>
    result.faults.map((f) => `${contender}, ${mode}: ${f}`),
  );
  return { samples, faults: [...new Set(broken), ...(await ledgerFaults(rig.database.pool, served, answered))] };
}

function print({ samples, faults }: Outcome, json: boolean): void {
  if (json) {
    console.log(JSON.stringify(report(samples, faults.length === 0 ? 'ok' : 'fail')));
    console.error(disturbance(samples));
    for (const fault of faults) console.error(fault);
    return;
  }
  console.log(machine());
  console.log(
    `Load generator: test/bench/load-generator.ts, raw sockets, a closed loop of ${CONNECTIONS} connections.\n`,
  );
  console.log(table(samples));
  console.log(disturbance(samples));
  console.log(verdict(faults));
}

function machine(): string {
  return `\nNode ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}; everything shares them.`;
}

function verdict(faults: readonly string[]): string {
  if (faults.length === 0) return 'Ledger gate: ok. Served = charged, no hold left, the ledger verifies.';
  return `Ledger gate: FAIL\n${faults.map((fault) => `  ${fault}`).join('\n')}`;
}

/** What runs during a benchmark. */
interface Stage {
  folder: string;
  close(keepFolder: boolean): Promise<void>;
}

/** The exit status. `work` tells what makes its run void; the folder is kept then, to be looked at. */
async function attempt(stage: Stage, work: () => Promise<string[]>): Promise<number> {
  const { promise: interrupted, reject: interrupt } = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt(signal));
  let keepFolder = false;
  try {
    const faults = await Promise.race([work(), interrupted]);
    keepFolder = faults.length > 0;
  } catch (reason) {
    console.error(`FAIL: ${reason instanceof Error ? reason.message : `ended by ${reason}`}`);
    keepFolder = reason instanceof Error;
    return 1;
  } finally {
    if (keepFolder) console.error(`The logs and the database are left in ${stage.folder}`);
    await stage.close(keepFolder);
  }
  return keepFolder ? 1 : 0;
}

function benchGateway(quick: boolean, json: boolean): Promise<number> {
  const rig = new Rig();
  return attempt(rig, async () => {
    const outcome = await run(rig, quick);
    print(outcome, json);
    return outcome.faults;
  });
}

function benchLedger(quick: boolean, json: boolean): Promise<number> {
  const plan = quick ? QUICK_LEDGER : FULL_LEDGER;
  const site = new Site(plan.accounts, plan.rounds + 1);
  return attempt(site, async () => {
    const outcome = await runBench(site, plan, progress);
    if (json) console.log(JSON.stringify(ledgerReport(outcome)));
    else console.log([machine(), tables(outcome), verdict(outcome.faults)].join('\n'));
    if (json) for (const fault of outcome.faults) console.error(fault);
    return outcome.faults;
  });
}

function benchUsage(quick: boolean, json: boolean): Promise<number> {
  const bench = new UsageBench();
  return attempt(bench, async () => {
    const { lines, folded, faults } = await bench.run(quick ? QUICK_USAGE : FULL_USAGE, progress);
    if (json) console.log(JSON.stringify({ gate: faults.length === 0 ? 'ok' : 'fail', folded, lines }));
    else {
      const rate = `${folded.entries.toLocaleString('en')} entries folded, ${folded.perSecond.toLocaleString('en')} a second.`;
      const end =
        faults.length === 0 ? 'Gate: ok. What usage tells = what was charged; p99 at most 100 ms.' : 'Gate: FAIL';
      console.log([machine(), rate, ...lines.map(textOf), end, ...faults].join('\n'));
    }
    return faults;
  });
}

function benchEventLoop(_quick: boolean, json: boolean): Promise<number> {
  const bench = new EventLoopBench();
  return attempt(bench, async () => {
    const { phases, faults } = await bench.run(progress);
    if (json) console.log(JSON.stringify({ gate: faults.length === 0 ? 'ok' : 'fail', phases }));
    else console.log([machine(), eventLoopTable(phases), ...faults].join('\n'));
    return faults;
  });
}

function benchCheck(quick: boolean, json: boolean): Promise<number> {
  const bench = new CheckBench();
  return attempt(bench, async () => {
    const lines = await bench.run(quick ? QUICK_CHECK : FULL_CHECK, progress);
    if (json) console.log(JSON.stringify({ lines }));
    else console.log([machine(), checkTable(lines)].join('\n'));
    return [];
  });
}

const BENCHES = {
  gateway: benchGateway,
  ledger: benchLedger,
  usage: benchUsage,
  'event-loop': benchEventLoop,
  check: benchCheck,
};
const { what, quick, json, help } = options();
if (help) {
  console.log(HELP);
} else {
  process.exitCode = await BENCHES[what](quick, json).catch((error: Error) => {
    console.error(`FAIL: ${error.message}`);
    return 1;
  });
  // After a run that was broken off: a ledger's writer would try for ever to end what it had begun.
  if (what === 'ledger') process.exit();
}

function options(): { what: keyof typeof BENCHES; quick: boolean; json: boolean; help: boolean } {
  const flag = { type: 'boolean', default: false } as const;
  try {
    const { values, positionals } = parseArgs({
      options: { quick: flag, json: flag, help: { ...flag, short: 'h' } },
      allowPositionals: true,
    });
    const [what = 'gateway', ...more] = positionals;
    if (more.length > 0 || !Object.hasOwn(BENCHES, what)) throw new Error(`Unknown: ${positionals.join(' ')}`);
    return { ...values, what: what as keyof typeof BENCHES };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`);
    return process.exit(2);
  }
}
