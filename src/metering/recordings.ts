/**
 * Recorded answers, read as the gateway reads them: whether the readers say of each what its manifest says of it, however
 * the network cuts it. Pure, but for the bytes that it is given.
 */
import { isDeepStrictEqual } from 'node:util';
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import { dialectOf, framingOf, splitterFor } from './readers/index.ts';
import type { AnswerHeaders, Dialect, Framing, Reported } from './readers/types.ts';

/** A row of a manifest: what is told of an answer, and what it is known to report. */
export interface Recording {
  file: string;
  api_style: string;
  streaming: boolean;
  /** `null`: not kept; a success. */
  http_status: number | null;
  content_type: string | null;
  response_headers: AnswerHeaders;
  expected_usage: Reported | null;
}

export interface Verdict {
  file: string;
  result: 'exact' | 'mismatch' | 'unsupported';
  reported: Reported | null;
  usage: Usage;
  /** What is wrong, each in a sentence. */
  problems: string[];
}

export interface Splits {
  /** How often a stream is read anew, cut elsewhere each time. */
  count: number;
  /** A number from 0 to below 1. */
  random: () => number;
}

/** As the relay's: no frame is larger. */
const MAX_FRAME_BYTES = 32 * 1024 * 1024;
/** A reading is cut into at most so many pieces. */
const MOST_PIECES = 256;

/** Reads a recorded body by the dialect of its row, unless another is given, and compares. */
export function verifyRecording(
  row: Recording,
  body: Buffer,
  splits: Splits,
  dialect: Dialect | null = dialectOf(row.api_style),
): Verdict {
  const { file } = row;
  if (dialect === null) return { file, result: 'unsupported', reported: null, usage: {}, problems: [] };
  const framing = isStream(row) ? framingOf(dialect, row.content_type) : null;
  const read = framing === null ? readWhole(dialect, row, body) : readFrames(dialect, framing, [body]);
  const problems: string[] = [];
  if (!isDeepStrictEqual(read.reported, row.expected_usage)) {
    problems.push(`expected ${JSON.stringify(row.expected_usage)}, read ${JSON.stringify(read.reported)}`);
  }
  const usage = read.reported === null ? {} : dialect.normalise(read.reported);
  problems.push(...faultsOf(usage, read.reported), ...faultsOf(read.beside, null));
  for (let i = 0; framing !== null && i < splits.count; i++) {
    const again = readFrames(dialect, framing, cut(body, splits.random));
    if (isDeepStrictEqual(again, read)) continue;
    problems.push(
      `split ${i + 1} of ${splits.count} read ${JSON.stringify(again)}, in one piece ${JSON.stringify(read)}`,
    );
    break;
  }
  return { file, result: problems.length === 0 ? 'exact' : 'mismatch', reported: read.reported, usage, problems };
}

function isStream({ streaming, http_status }: Recording): boolean {
  return streaming && (http_status ?? 200) < 400;
}

interface Read {
  reported: Reported | null;
  beside: Usage;
  terms: object;
}

function readWhole(dialect: Dialect, { response_headers }: Recording, body: Buffer): Read {
  const { reported, beside, terms } = dialect.readJson(body, response_headers);
  return { reported, beside, terms };
}

/** Reads a stream as the relay does: plain content at once where the reader can, frame by frame else. */
function readFrames(dialect: Dialect, framing: Framing, pieces: readonly Buffer[]): Read {
  const reader = dialect.stream(framing);
  const splitter = splitterFor(framing, MAX_FRAME_BYTES);
  const take = (frame: Buffer): void => void reader.frame(frame);
  for (const piece of pieces) {
    const plain = splitter.atBoundary ? (reader.content?.(piece) ?? 0) : 0;
    if (plain < piece.length) splitter.push(piece.subarray(plain), take);
  }
  // The last frame of a text may lack its end; a binary one that is not whole is none.
  const isText = framing === 'sse' || framing === 'json-lines';
  if (isText && splitter.rest().length > 0) splitter.push(Buffer.from('\n\n'), take);
  return { reported: reader.usage(), beside: reader.beside(), terms: reader.terms() };
}

/** The bytes in pieces: few or many, since large and small ones take different ways through the readers. */
function cut(body: Buffer, random: () => number): Buffer[] {
  const most = Math.min(MOST_PIECES, body.length);
  const pieces = Math.max(2, Math.floor(most ** random()));
  const at = Array.from({ length: pieces - 1 }, () => Math.floor(random() * (body.length + 1))).sort((a, b) => a - b);
  return [...at, body.length].map((end, i) => body.subarray(at[i - 1] ?? 0, end));
}

/** What a normalised usage must never be: negative, broken into parts of a token, or more than was reported. */
function faultsOf(usage: Usage, reported: Reported | null): string[] {
  const faults: string[] = [];
  let tokens = 0;
  for (const [unit, quantity] of Object.entries(usage) as [Unit, number][]) {
    const whole = unit.startsWith('second_') || Number.isSafeInteger(quantity);
    if (!(quantity >= 0) || !whole) faults.push(`${unit} is ${quantity}: not a whole number, or negative`);
    if (isInput(unit) || isOutput(unit)) tokens += quantity;
  }
  const most = reported === null ? tokens : mostTokens(reported);
  if (tokens > most) faults.push(`${tokens} tokens are billed, and at most ${most} reported: some are counted twice`);
  return faults;
}

/** The most tokens that a report can mean: its total where it has one, else all its counts that may stand beside others. */
function mostTokens(reported: Reported): number {
  const { responses = [], transcriptions = [], iterations = [], total_tokens } = reported;
  const inside = [...responses, ...transcriptions].reduce((sum, one) => sum + mostTokens(one), 0);
  const of = (count: number | undefined): number => Math.ceil(count ?? 0);
  const billed = of(reported.billed_input_tokens) + of(reported.billed_output_tokens);
  const counted = Math.max(billed, of(reported.input_tokens) + of(reported.output_tokens));
  if (total_tokens !== undefined) return inside + Math.max(of(total_tokens), counted);
  const passes = iterations.reduce(
    (sum, one) =>
      sum +
      of(one.input_tokens) +
      of(one.output_tokens) +
      of(one.cache_read_input_tokens) +
      of(one.cache_creation_input_tokens),
    0,
  );
  const cached = of(reported.cached_read_tokens) + of(reported.cache_write_tokens);
  return inside + passes + counted + cached + of(reported.tool_use_input_tokens);
}
