/** `recordings verify`. It needs neither a database nor a configuration. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { AnswerHeaders, Reported } from '../metering/readers/types.ts';
import { type Recording, type Verdict, verifyRecording } from '../metering/recordings.ts';
import { type Command, UsageError } from './command.ts';

const ROW = z.object({
  file: z.string().min(1),
  provider: z.string().nullable().default(null),
  model: z.string().nullable().default(null),
  api_style: z.string(),
  streaming: z.boolean(),
  http_status: z.number().int().nullable().default(null),
  content_type: z.string().nullable().default(null),
  response_headers: z
    .record(z.string(), z.union([z.string(), z.array(z.string()), z.null()]))
    .nullable()
    .default(null),
  expected_usage: z.custom<Reported>((value) => typeof value === 'object' && !Array.isArray(value)).nullable(),
});

const DEFAULT_SPLITS = 100;
const MOST_SPLITS = 100_000;
const MOST_SEED = 2 ** 32 - 1;

export const recordingsVerify: Command = {
  name: 'recordings verify',
  summary:
    'Reads the recorded answers of providers that DIR/manifest.jsonl lists, as the gateway would, split at random bytes, and compares the usage read with the expected one. Exit status 1 when one differs.',
  positional: ['DIR'],
  options: {
    splits: { value: 'N', help: `how often each stream is split anew (${DEFAULT_SPLITS})` },
    seed: { value: 'N', help: 'where to split: the same seed splits at the same bytes (random, and printed)' },
  },
  run: ({ positional, values }) => {
    const count = wholeNumber('splits', values.splits ?? String(DEFAULT_SPLITS), MOST_SPLITS);
    const seed = values.seed === undefined ? randomInt(MOST_SEED) : wholeNumber('seed', values.seed, MOST_SEED);
    const verdicts = verifyFolder(positional[0]!, { count, seed });
    const tally = (result: Verdict['result']): number => verdicts.filter((verdict) => verdict.result === result).length;
    const [exact, unsupported] = [tally('exact'), tally('unsupported')];
    const counted = verdicts.length - unsupported;
    const text = [
      ...verdicts.flatMap(({ file, problems }) => problems.map((problem) => `${file}: ${problem}`)),
      ...verdicts.filter(({ result }) => result === 'unsupported').map(({ file }) => `${file}: unsupported`),
      `${count} splits of each stream, seed ${seed}`,
      `${exact} of ${counted} exact, ${unsupported} unsupported`,
    ].join('\n');
    const json = { ok: exact === counted, exact, of: counted, unsupported, splits: count, seed, rows: verdicts };
    return Promise.resolve({ json, text, failed: exact < counted });
  },
};

/** Verifies all rows of a folder's manifest, in their order. Throws with the line where a row makes no sense. */
export function verifyFolder(folder: string, { count, seed }: { count: number; seed: number }): Verdict[] {
  return readManifest(folder).map((row, i) => {
    // Each row has its own sequence, so that it is split alike whatever stands before it.
    const random = randomFrom(seed + i);
    return verifyRecording(row, readFileSync(join(folder, row.file)), { count, random });
  });
}

/** The rows of `manifest.jsonl`. */
function readManifest(folder: string): Recording[] {
  const path = join(folder, 'manifest.jsonl');
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.flatMap((line, i) => (line.trim() === '' ? [] : [readRow(line, `${path}:${i + 1}`)]));
}

function readRow(line: string, where: string): Recording {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`);
  }
  const { success, data, error } = ROW.safeParse(json);
  if (success) return { ...data, response_headers: known(data.response_headers ?? {}) };
  const faults = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new Error(`${where}: ${faults.join('; ')}`);
}

/** Headers that were kept by their name only are as good as absent. */
function known(headers: Record<string, string | string[] | null>): AnswerHeaders {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value ?? undefined]));
}

function wholeNumber(name: string, text: string, most: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number <= most) return number;
  throw new UsageError(`--${name} must be a whole number of at most ${most}`);
}

/** The same numbers from 0 to below 1 for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
