/** Structured logs, one JSON line each. The request line holds ids, model, status, charge and time: never a prompt, key or query. */
import { destination, type Logger, pino } from 'pino';
import { describeError } from '../lib/describe-error.ts';

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

/** An error of a library carries what was sent and received; only its words and where it was thrown are told, and those of its cause. */
function tellError(error: unknown): object {
  if (!(error instanceof Error)) return { message: describeError(error) };
  const { stack = '', cause } = error;
  const at = stack.split('\n').filter((line) => /^ +at /.test(line));
  return { message: describeError(error), at, ...(cause !== undefined && { cause: describeError(cause) }) };
}

/** A logger on standard output, or on `fd`. Call `flush` before the process ends. */
export function createLogger(level: LogLevel, fd = 1): Logger {
  return pino({ level, base: null, timestamp: time, serializers: { err: tellError } }, destination({ fd, ...CHUNKS }));
}

/** A logger that says nothing, for commands and tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
