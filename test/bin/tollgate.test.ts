/** The launcher, copied into a folder of its own beside a stub of src/cli.ts. An old Node is played by a preload. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const STUB = `
const [verb, value] = process.argv.slice(2);
if (verb === 'echo') process.stdin.pipe(process.stdout);
if (verb === 'args') console.log(JSON.stringify(process.argv.slice(2) satisfies string[]));
if (verb === 'exit') process.exitCode = Number(value);
if (verb === 'die') process.kill(process.pid, 'SIGKILL');
if (verb === 'wait') {
  let signals = 0;
  process.on(value as string, () => {
    signals += 1;
    setTimeout(() => { console.log('signals ' + signals); process.exit(7); }, 300);
  });
  setInterval(() => {}, 1000);
  console.log('ready');
}
`;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'tollgate-launcher-'));
  for (const folder of ['bin', 'src', 'node_modules/node/bin']) mkdirSync(join(root, folder), { recursive: true });
  copyFileSync(fileURLToPath(new URL('../../bin/tollgate.js', import.meta.url)), join(root, 'bin/tollgate.js'));
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  writeFileSync(join(root, 'src/cli.ts'), STUB);
  writeFileSync(join(root, 'old.cjs'), 'Object.defineProperty(process, "version", { value: "v20.1.0" });');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function launch(how: 'new' | 'old', ...args: string[]): ChildProcess {
  const preload = how === 'old' ? ['--require', join(root, 'old.cjs')] : [];
  return spawn(process.execPath, [...preload, join(root, 'bin/tollgate.js'), ...args], { stdio: 'pipe' });
}

async function run(child: ChildProcess) {
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>,
  ]);
  return { stdout, stderr, status, signal };
}

describe.each(['new', 'old'] as const)('on a Node that is %s', (how) => {
  beforeAll(() => {
    if (how === 'old') symlinkSync(process.execPath, join(root, 'node_modules/node/bin/node'));
  });

  test('arguments, input, output and exit status pass through', async () => {
    const odd = ['a b', '--flag=$HOME', '', 'ü"'];
    expect(JSON.parse((await run(launch(how, 'args', ...odd))).stdout)).toEqual(['args', ...odd]);
    const echo = launch(how, 'echo');
    echo.stdin!.end('what was typed');
    expect((await run(echo)).stdout).toBe('what was typed');
    expect((await run(launch(how, 'exit', '3'))).status).toBe(3);
    expect((await run(launch(how, 'die'))).signal).toBe('SIGKILL');
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s arrives once, and the drain is waited for',
    async (signal) => {
      const child = launch(how, 'wait', signal);
      child.stdout!.once('data', () => child.kill(signal));
      expect(await run(child)).toEqual({ stdout: 'ready\nsignals 1\n', stderr: '', status: 7, signal: null });
    },
  );
});

test('an old Node without a newer one installed says in one line what to do', async () => {
  rmSync(join(root, 'node_modules/node/bin/node'), { force: true });
  const { stderr, status } = await run(launch('old', 'serve'));
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^tollgate: needs Node 24 or newer\. This is v20\.1\.0.*"npm ci --ignore-scripts=false" in .*\n$/,
  );
});
