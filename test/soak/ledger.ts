/**
 * The long run of the ledger's random tests, `npm run soak:ledger`: 2,000 histories against the model, 400 of payments that
 * are taken back, 10,000 races on one hold, 100 rounds of 200 clients over 1, 2 and 4 processes. About ten minutes. A line
 * for each part as it ends, with the seed that replays it; exit 1 if any failed.
 *
 * LEDGER_SEED=… starts from that seed, LEDGER_RUNS=… LEDGER_RACES=… LEDGER_ROUNDS=… say how many.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const SEED = number('LEDGER_SEED', Date.now() % 2 ** 31);
/** Histories in one part: a failure is told, and can be replayed, within half a minute. */
const PART = 200;

interface Part {
  file: string;
  /** What of, and how many. */
  count: 'LEDGER_RUNS' | 'LEDGER_RACES' | 'LEDGER_ROUNDS';
  times: number;
  seed: number;
}

function partsOf(): Part[] {
  const parts: Part[] = [];
  for (let left = number('LEDGER_RUNS', 2_000), i = 0; left > 0; left -= PART, i++) {
    const times = Math.min(left, PART);
    parts.push({ file: 'test/ledger/model.property.test.ts', count: 'LEDGER_RUNS', times, seed: SEED + i });
  }
  const lives = Math.ceil(number('LEDGER_RUNS', 2_000) / 5);
  if (lives > 0) {
    parts.push({ file: 'test/ledger/clawback.property.test.ts', count: 'LEDGER_RUNS', times: lives, seed: SEED });
  }
  for (let left = number('LEDGER_RACES', 10_000), i = 0; left > 0; left -= 2_500, i++) {
    const times = Math.min(left, 2_500);
    parts.push({ file: 'test/ledger/races.test.ts', count: 'LEDGER_RACES', times, seed: SEED + i });
  }
  const times = number('LEDGER_ROUNDS', 100);
  if (times > 0) parts.push({ file: 'test/ledger/overspend.test.ts', count: 'LEDGER_ROUNDS', times, seed: SEED });
  return parts;
}

/** Runs one part; answers what it wrote, and whether it passed. */
function run({ file, count, times, seed }: Part): Promise<{ passed: boolean; output: string }> {
  const limit = String(60_000 + times * 1_000);
  const args = ['run', file, '--no-color', '--testTimeout', limit];
  const vitest = fileURLToPath(new URL('../../node_modules/.bin/vitest', import.meta.url));
  const env = { ...process.env, LEDGER_SEED: String(seed), [count]: String(times) };
  const child = spawn(vitest, args, { cwd: new URL('../..', import.meta.url), env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ passed: code === 0, output }));
  });
}

const parts = partsOf();
const failed: string[] = [];
console.log(`soak:ledger from LEDGER_SEED=${SEED}, ${parts.length} parts`);
for (const [i, part] of parts.entries()) {
  const replay = `LEDGER_SEED=${part.seed} ${part.count}=${part.times} npx vitest run ${part.file}`;
  const started = performance.now();
  const { passed, output } = await run(part);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  console.log(`${i + 1}/${parts.length} ${passed ? 'ok  ' : 'FAIL'} ${seconds.padStart(4)} s  ${replay}`);
  for (const line of output.split('\n')) if (/^\d+ × /.test(line)) console.log(`       ${line}`);
  if (passed) continue;
  failed.push(replay);
  console.log(output);
}
for (const replay of failed) console.log(`replay: ${replay}`);
console.log(failed.length === 0 ? 'all passed' : `${failed.length} of ${parts.length} parts failed`);
process.exitCode = failed.length === 0 ? 0 : 1;
