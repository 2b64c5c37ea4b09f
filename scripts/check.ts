/**
 * The fast half of CI, `npm run check`: types, lint and format, the style guide, the schema dump, the list of
 * endpoints. All at once, since each leaves a core idle for part of its time. A line for each as it ends, then the output of those
 * that failed; exit 1 if any did.
 */
import { spawn } from 'node:child_process';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Check {
  name: string;
  command: string;
  /** What to do when it fails. */
  repair: string;
}

const CHECKS: Check[] = [
  { name: 'types', command: 'tsc -p .', repair: 'make the types right' },
  {
    name: 'lint, format',
    command: 'biome ci --error-on-warnings --colors=off',
    repair: 'npm run format repairs most of it',
  },
  {
    name: 'style',
    command: 'vitest run --config vitest.tidy.config.ts',
    repair: 'CONTRIBUTING.md has the rules; each breach names its line',
  },
  { name: 'schema', command: 'node scripts/schema.ts', repair: 'npm run schema writes src/db/schema.sql anew' },
  {
    name: 'endpoints',
    command: 'node scripts/endpoints.ts',
    repair: 'npm run endpoints writes docs/endpoints.md anew',
  },
];

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = fileURLToPath(new URL('../node_modules/.bin', import.meta.url));
const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` };

const started = performance.now();
const results = await Promise.all(CHECKS.map(run));
const failed = results.filter(({ ok }) => !ok);
for (const { name, command, repair, output } of failed) {
  console.error(`\n──── ${name}: ${command}\n${output.trim()}\n──── ${name} failed: ${repair}`);
}
const passed = `${results.length - failed.length} of ${results.length} checks passed`;
const names = failed.length > 0 ? `; failed: ${failed.map(({ name }) => name).join(' · ')}` : '';
console.log(`\n${passed} in ${seconds(started)}${names}`);
if (failed.length > 0) process.exitCode = 1;

async function run(check: Check): Promise<Check & { ok: boolean; output: string }> {
  const begun = performance.now();
  const child = spawn(check.command, { cwd: root, env, shell: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const ok = await new Promise<boolean>((resolve) => {
    child.on('error', (error) => {
      output += error.message;
      resolve(false);
    });
    child.on('close', (status) => resolve(status === 0));
  });
  console.log(`${ok ? 'ok    ' : 'FAILED'}  ${check.name.padEnd(13)} ${seconds(begun).padStart(7)}`);
  return { ...check, ok, output };
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
