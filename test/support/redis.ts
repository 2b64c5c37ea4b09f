/** A Redis of a test's own, on a free port. Where there is no redis-server its suites are skipped, loudly; in CI that is a failure. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

const found = spawnSync('redis-server', ['--version']).status === 0;
if (!found) {
  const message = 'redis-server is not installed: the suites of limits that are shared over Redis';
  if (process.env.CI === 'true') throw new Error(`${message} cannot run`);
  process.stderr.write(`\n*** NOT RUN *** ${message}\n\n`);
}

/** For `describe.skipIf`. */
export const noRedis = !found;

export interface TestRedis {
  url: string;
  process: ChildProcess;
  /** Starts it again, empty, on the same port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startRedis(): Promise<TestRedis> {
  const port = await freePort();
  const run = async (): Promise<ChildProcess> => {
    const child = spawn('redis-server', [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
    ]);
    let log = '';
    while (!log.includes('Ready to accept connections')) {
      const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
      log += chunk.toString();
    }
    child.stdout.resume();
    return child;
  };
  const redis: TestRedis = {
    url: `redis://127.0.0.1:${port}`,
    process: await run(),
    restart: async () => {
      redis.process = await run();
    },
    stop: async () => {
      const exited = once(redis.process, 'exit');
      if (redis.process.exitCode !== null || redis.process.signalCode !== null) return;
      redis.process.kill('SIGKILL');
      await exited;
    },
  };
  return redis;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
