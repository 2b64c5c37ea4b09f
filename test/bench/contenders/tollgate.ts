/** Tollgate as it ships, over its embedded Postgres: the settings come as an argument, the log goes to a file. */
import { openSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { loadSettings } from '../../../src/catalog/file.ts';
import { createLogger } from '../../../src/observe/log.ts';
import { start } from '../../../src/server.ts';
import { serveParent } from '../child.ts';

const { env, logPath } = JSON.parse(process.argv[2]!) as { env: Record<string, string>; logPath: string };
const log = createLogger('info', openSync(logPath, 'a'));
const running = await start(loadSettings(env), log);

const NANO_PER_MS = 1e6;
const RESOLUTION_MS = 1;
/** Made at the first question: it costs a timer each millisecond. */
let delay: ReturnType<typeof monitorEventLoopDelay> | null = null;

/** How late the event loop was since the last question, in milliseconds beyond the timer's own. */
function eventLoop(): { p50: number; p99: number; max: number } {
  if (delay === null) {
    delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    delay.enable();
  }
  const late = (nano: number): number => Math.max(0, nano / NANO_PER_MS - RESOLUTION_MS);
  const told = { p50: late(delay.percentile(50)), p99: late(delay.percentile(99)), max: late(delay.max) };
  delay.reset();
  return told;
}

serveParent({ port: Number(new URL(running.url).port) }, eventLoop, async () => {
  await running.close();
  log.flush();
});
