/** `npm run bench`: what durable metering costs, as ratios of proxies that meter nothing. See docs/benchmark.md. */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { ledgerFaults } from './gate.ts';
import type { Served } from './mock-upstream.ts';
import { disturbance, report, table } from './report.ts';
import { Rig } from './rig.ts';
import { CONNECTIONS, type Plan, runRounds, type Sample } from './rounds.ts';

const HELP = `npm run bench -- [--quick] [--json]

  --quick   ends within 120 s: fewer and shorter rounds, 1,000 accounts only
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
  console.log(
    `\nNode ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}; everything shares them.`,
  );
  console.log(
    `Load generator: test/bench/load-generator.ts, raw sockets, a closed loop of ${CONNECTIONS} connections.\n`,
  );
  console.log(table(samples));
  console.log(disturbance(samples));
  if (faults.length === 0) console.log('Ledger gate: ok. Served = charged, no hold left, the ledger verifies.');
  else console.log(`Ledger gate: FAIL\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
}

async function main(quick: boolean, json: boolean): Promise<number> {
  const rig = new Rig();
  const { promise: interrupted, reject: interrupt } = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt(signal));
  let keepFolder = false;
  try {
    const outcome = await Promise.race([run(rig, quick), interrupted]);
    print(outcome, json);
    keepFolder = outcome.faults.length > 0;
  } catch (reason) {
    console.error(`FAIL: ${reason instanceof Error ? reason.message : `ended by ${reason}`}`);
    keepFolder = reason instanceof Error;
    return 1;
  } finally {
    if (keepFolder) console.error(`The logs and the database are left in ${rig.folder}`);
    await rig.close(keepFolder);
  }
  return keepFolder ? 1 : 0;
}

const { quick, json, help } = options();
if (help) {
  console.log(HELP);
} else {
  process.exitCode = await main(quick, json).catch((error: Error) => {
    console.error(`FAIL: ${error.message}`);
    return 1;
  });
}

function options(): { quick: boolean; json: boolean; help: boolean } {
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({ options: { quick: flag, json: flag, help: { ...flag, short: 'h' } } }).values;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`);
    return process.exit(2);
  }
}
