/** Structured logs, one JSON line each. The request line holds ids, model, status, charge and time: never a prompt, key or query. */
import { destination, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'silent' | 'error' | 'warn' | 'info' | 'debug';

/** A logger on standard output (or `fd`), written in chunks of at most 4 KiB or 100 ms so that it costs the hot path little. */
export function createLogger(level: LogLevel, fd = 1): Logger {
  const sink = destination({ fd, sync: false, minLength: 4096, periodicFlush: 100 });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, sink);
}

/** A logger that says nothing, for commands and tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
