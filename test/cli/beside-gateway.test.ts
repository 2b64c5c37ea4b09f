/** Commands beside a gateway that runs on the embedded database. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const LAUNCHER = join(import.meta.dirname, '../../bin/tollgate.js');

test('credits granted by a command are there at the next request; the gateway and its database live on', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-cli-'));
  chmodSync(folder, 0o755);
  const env = { PATH: process.env.PATH ?? '', TOLLGATE_DATA_DIR: join(folder, 'data'), PORT: '0', LOG_LEVEL: 'error' };
  const run = (...args: string[]) =>
    spawn(process.execPath, [LAUNCHER, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const gateway = run('serve');
  const ended = once(gateway, 'exit');
  try {
    let printed = '';
    const url = await new Promise<string>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        printed += chunk;
        const match = /listens on (http:\S+)/.exec(printed);
        if (match !== null) resolve(match[1]!);
      };
      gateway.stdout.on('data', read);
      gateway.stderr.on('data', read);
      void ended.then(() => reject(new Error(`the gateway ended: ${printed}`)));
    });
    const authorization = `Bearer ${readFileSync(join(folder, 'data/demo-key'), 'utf8').trim()}`;
    const available = async () => {
      const response = await fetch(`${url}/account/v1/balance`, { headers: { authorization } });
      return ((await response.json()) as { available: string }).available;
    };
    expect(await available()).toBe('100');
    const [granted] = await once(
      run('credits', 'grant', '--account', 'ext:demo', '--credits', '1.5', '--reference', 'r'),
      'exit',
    );
    expect(granted).toBe(0);
    expect(await available()).toBe('101.5');
    const [verified] = await once(run('ledger', 'verify'), 'exit');
    expect(verified).toBe(0);
    gateway.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  } finally {
    gateway.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
});
