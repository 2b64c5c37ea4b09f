/** Tollgate as it ships, over its embedded Postgres: the settings come as an argument, the log goes to a file. */
import { openSync } from 'node:fs';
import { loadSettings } from '../../../src/catalog/file.ts';
import { createLogger } from '../../../src/observe/log.ts';
import { start } from '../../../src/server.ts';
import { serveParent } from '../child.ts';

const { env, logPath } = JSON.parse(process.argv[2]!) as { env: Record<string, string>; logPath: string };
const log = createLogger('info', openSync(logPath, 'a'));
const running = await start(loadSettings(env), log);

serveParent(
  { port: Number(new URL(running.url).port) },
  () => null,
  async () => {
    await running.close();
    log.flush();
  },
);
