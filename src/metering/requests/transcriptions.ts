/**
 * Transcriptions and translations: forms with a sound. Their price is by the second of what is heard, or by tokens. The sound is
 * measured by its own bytes: it bounds what can be billed, and where an answer reports nothing it is the bill.
 */
import type { Price } from '../../catalog/price.ts';
import type { Model } from '../../catalog/types.ts';
import type { Usage } from '../../catalog/units.ts';
import { TollgateError } from '../../errors.ts';
import { soundSeconds } from '../../lib/audio/duration.ts';
import { type FormShape, formFlag, readFields } from './form.ts';
import { invalid, modelOf } from './json-body.ts';
import { noParts } from './message-parts.ts';
import type { Form, MeteredRequest, RequestReader, Span } from './types.ts';

/** Providers may measure a little more than we do: their decoders round to frames, and some add silence. */
const DOUBT_SECONDS = 1;
/**
 * The most tokens of a second that a model counts is 13 (Voxtral, 12.5), and it pads to 30 seconds; OpenAI's count 10 to 12.
 */
const MOST_TOKENS_PER_SECOND = 13;
const PADDED_SECONDS = 30;
const LIKELY_TOKENS_PER_SECOND = 10;
/** Where it cannot be measured how long a sound plays, that is told by its size: speech as Opus, at 24 kbit/s. */
const LIKELY_BYTES_PER_SECOND = 3_000;

const TRANSCRIPTIONS: FormShape = {
  endpoint: 'transcriptions',
  files: { file: 1 },
  lists: [
    'languages',
    'keywords',
    'known_speaker_names',
    'known_speaker_references',
    'include',
    'timestamp_granularities',
  ],
};
const TRANSLATIONS: FormShape = { endpoint: 'translations', files: { file: 1 }, lists: [] };

/** `POST /v1/audio/transcriptions`. */
export const transcriptionRequests: RequestReader = readerOf(TRANSCRIPTIONS);
/** `POST /v1/audio/translations`. */
export const translationRequests: RequestReader = readerOf(TRANSLATIONS);

function readerOf(shape: FormShape): RequestReader {
  return {
    read: () => {
      throw new TollgateError('invalid_request', {
        param: 'file',
        message: 'Send this request as multipart/form-data, with the sound as its field "file".',
      });
    },
    readForm: (form, deployment) => readSound(form, shape, deployment),
    promptField: 'prompt',
    limitFields: [],
    asksForUsage: false,
    isPriced: pricesSound,
    refuseUnbounded: refuseUnmeasured,
    usedUnreported,
  };
}

/** Whether seconds have a price, or tokens of both sides, or the request as a whole. */
function pricesSound({ units }: Price): boolean {
  if (units.second_input !== undefined) return true;
  const sides = [units.input ?? units.input_audio, units.output].filter((side) => side !== undefined).length;
  return sides === 2 || (sides === 0 && units.request !== undefined);
}

async function readSound(form: Form, shape: FormShape, deployment: string | null): Promise<MeteredRequest> {
  const { fields, spans, files, inputBytes } = readFields(form, shape);
  const { model, namesModel } = modelOf(deployment === null ? fields : { model: deployment });
  const file = files.get('file')?.[0];
  if (file === undefined) throw invalid('file', 'must be a file');
  const seconds = await secondsOf(form, file);
  const heard = seconds === null ? null : Math.ceil(seconds);
  const tokens = LIKELY_TOKENS_PER_SECOND * (heard ?? Math.ceil((file.end - file.start) / LIKELY_BYTES_PER_SECOND));
  return {
    model,
    namesModel,
    stream: formFlag(fields, 'stream'),
    // It has no frame that only we wished for.
    includeUsage: true,
    bytes: inputBytes,
    reads: 1,
    n: 1,
    outputLimit: null,
    fixedOutput: null,
    mustBeWhole: true,
    parts: {
      ...noParts(),
      sounds: 1,
      soundTokens: heard === null ? 0 : (heard + PADDED_SECONDS) * MOST_TOKENS_PER_SECOND,
      unbounded: heard === null ? 1 : 0,
      likelyTokens: tokens,
    },
    hasTools: false,
    asks: { units: [], serviceTier: null },
    others: heard === null ? null : { second_input: heard + DOUBT_SECONDS },
    certain:
      seconds === null ? { input_audio: tokens } : { second_input: toMicroseconds(seconds), input_audio: tokens },
    hidesOutput: true,
    spans,
    end: null,
  };
}

function secondsOf(form: Form, { start, end }: Span): Promise<number | null> {
  const read = (from: number, to: number) => form.read(start + from, Math.min(start + to, end));
  return soundSeconds({ length: end - start, read });
}

/** What is billed by the second, and has no seconds that could be measured, cannot be held for. */
function refuseUnmeasured({ units }: Price, { certain }: MeteredRequest): void {
  if (units.second_input === undefined || certain?.second_input !== undefined) return;
  throw invalid(
    'file',
    'how long it plays cannot be told, and this model is billed by the second. Send flac, m4a, mp3, mp4, ogg, wav or webm, whole and without encryption',
  );
}

/** As exactly as a part of a second is rated (catalog/rating.ts). */
function toMicroseconds(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6;
}

/** Seconds are what was measured, not rounded up. Tokens are not told by the request. */
function usedUnreported({ certain }: MeteredRequest, { price }: Model): { usage: Usage; exact: boolean } | undefined {
  if (price.units.second_input === undefined || certain?.second_input === undefined) return undefined;
  return { usage: { second_input: certain.second_input }, exact: true };
}
