/** Structured logs, one JSON line each. The request line holds ids, model, status, charge and time: never a prompt, key or query. */
import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug';

/** Lines are written in chunks of about 32 KiB, or after 100 ms, so that they cost the hot path little. */
const CHUNKS = { sync: false, minLength: 32_768, maxWrite: 65_536, periodicFlush: 100 };

let lastMs = 0;
let lastTime = '';

/** The time of a line; several lines of one millisecond share it, since writing a date is dear. */
function time(): string {
  const now = Date.now();
  if (now !== lastMs) {
    lastMs = now;
    lastTime = `,"time":"${new Date(now).toISOString()}"`;
  }
  return lastTime;
}

/** A logger on standard output, or on `fd`. Call `flush` before the process ends. */
export function createLogger(level: LogLevel, fd = 1): Logger {
  return pino({ level, base: null, timestamp: time }, destination({ fd, ...CHUNKS }));
}

/** A logger that says nothing, for commands and tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
