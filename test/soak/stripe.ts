/**
 * The long run of what is heard of payments, `npm run soak:stripe`: for each scenario all words of up to six hearings, those that come
 * to a point where another was walked once; all of up to three each by itself; and 50 random ones of up to twenty. About ten minutes. A
 * line for each part as it ends, with the seed that replays it; exit 1 if any failed.
 *
 * STRIPE_SEED=… starts from that seed, STRIPE_LONGEST=… STRIPE_RANDOM=… say how many.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LIVES } from '../payments/convergence/lives.ts';

const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const SEED = number('STRIPE_SEED', Date.now() % 2 ** 31);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FILE = 'test/payments/convergence/convergence.test.ts';

const PARTS = Object.keys(LIVES).flatMap((name) => [
  { name, what: 'all words', env: { STRIPE_LONGEST: `${number('STRIPE_LONGEST', 6)}`, STRIPE_RANDOM: '0' } },
  { name, what: 'each by itself', env: { STRIPE_LONGEST: '3', STRIPE_RANDOM: '0', STRIPE_SHARING: '0' } },
  { name, what: 'random', env: { STRIPE_LONGEST: '2', STRIPE_RANDOM: `${number('STRIPE_RANDOM', 50)}` } },
]);

async function run(name: string, env: Record<string, string>): Promise<{ output: string; failed: boolean }> {
  const args = ['node_modules/vitest/vitest.mjs', 'run', FILE, '-t', `^${name}:`, '--reporter', 'default'];
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, ...env, STRIPE_SEED: String(SEED) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const failed = await new Promise<boolean>((resolve) => child.on('close', (code) => resolve(code !== 0)));
  return { output, failed };
}

let failures = 0;
for (const [at, { name, what, env }] of PARTS.entries()) {
  const began = performance.now();
  const { output, failed } = await run(name, env);
  const said = /convergence: \w+: (.*)/.exec(output)?.[1] ?? '';
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log(
    `${at + 1}/${PARTS.length} ${failed ? 'FAILED' : 'ok'} ${name}, ${what}: ${said} STRIPE_SEED=${SEED} ${seconds} s`,
  );
  if (failed) {
    failures++;
    console.log(output);
  }
}
console.log(failures === 0 ? 'all held' : `${failures} of ${PARTS.length} parts failed`);
process.exitCode = failures === 0 ? 0 : 1;
