/** What a log line tells of an error: its words and where it was thrown, never what it carries. */
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createLogger } from '../../src/observe/log.ts';

test('an error is told without what it carries, and without the keys and addresses that its words quote', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-log-'));
  const path = join(folder, 'log');
  const log = createLogger('info', openSync(path, 'w'));
  const carried = {
    raw: { email: 'ada@example.com', secret: 'whsec_1' },
    headers: { authorization: 'Bearer sk_live_2' },
  };
  const error = Object.assign(
    new Error('no such customer for sk_live_3', { cause: new Error('of bob@example.com') }),
    carried,
  );
  log.error({ err: error }, 'request failed');
  await new Promise((resolve) => log.flush(resolve));
  const line = readFileSync(path, 'utf8');
  expect(JSON.parse(line)).toMatchObject({
    msg: 'request failed',
    err: { message: 'Error: no such customer for sk_***' },
  });
  expect(line).toContain('log.test.ts');
  for (const secret of ['example.com', 'whsec_1', 'sk_live_2', 'sk_live_3']) expect(line).not.toContain(secret);
  rmSync(folder, { recursive: true });
});
