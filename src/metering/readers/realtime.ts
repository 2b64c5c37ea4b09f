/**
 * Sessions of the realtime dialect, an event a line: usage with each response that is done, and with each transcription of
 * what was heard. Captures of both directions have each event in an envelope; what was sent is no report.
 */
import { isObject, type Json } from '../../lib/json.ts';
import { normalise, readUsage } from './chat-usage.ts';
import { EventReader, sumOf } from './events.ts';
import type { Answer, Dialect, FrameKind, Reported } from './types.ts';

/**
 * The bill of a session is the sum of its responses and transcriptions. The model that transcribes is another one: its
 * tokens are counted as this one's, so that they are not free.
 */
export const realtime: Dialect = {
  framing: 'json-lines',
  readJson,
  stream: (framing) => new RealtimeReader(framing),
  normalise: ({ responses = [], transcriptions = [] }) =>
    sumOf([...responses, ...transcriptions].map((report) => normalise(report))),
};

/** A session is no whole answer: this is the error that refused it. */
function readJson(): Answer {
  return { reported: null, terms: {}, beside: {}, generatedText: [], isError: true };
}

/** Reports of a session that are kept each for itself; later ones are added to the last. */
const MOST_REPORTS = 10_000;

/** Text, transcripts of speech, arguments: what a model wrote, and not the sound itself. */
const WRITTEN = /^response\.(?!.*audio\.delta$)/;

class RealtimeReader extends EventReader {
  readonly #responses: Reported[] = [];
  readonly #transcriptions: Reported[] = [];

  override usage(): Reported | null {
    if (this.#responses.length + this.#transcriptions.length === 0) return null;
    return { responses: this.#responses, transcriptions: this.#transcriptions };
  }

  protected override see(line: Json): FrameKind {
    if (line.dir === 'sent') return 'content';
    const event = isObject(line.event) ? line.event : line;
    if (event.type === 'response.done') {
      const response = isObject(event.response) ? event.response : {};
      keep(readUsage(response.usage) ?? readUsage(event.usage), this.#responses);
    } else if (event.type === 'conversation.item.input_audio_transcription.completed') {
      keep(readUsage(event.usage), this.#transcriptions);
    } else if (isObject(event.usageMetadata)) {
      keep(readUsage(renamed(event.usageMetadata)), this.#responses);
    } else if (typeof event.delta === 'string' && WRITTEN.test(String(event.type))) {
      this.text.add(event.delta);
    }
    // A session goes on after an error: it is the answer to one event.
    return 'content';
  }
}

function keep(report: Reported | null, reports: Reported[]): void {
  if (report === null) return;
  if (reports.length < MOST_REPORTS) reports.push(report);
  else reports[reports.length - 1] = added(reports[reports.length - 1]!, report);
}

function added(a: Reported, b: Reported): Reported {
  const sum: Record<string, unknown> = { ...a };
  for (const [name, count] of Object.entries(b)) {
    if (typeof count === 'number') sum[name] = ((sum[name] as number | undefined) ?? 0) + count;
  }
  return sum as Reported;
}

/** Gemini's live sessions have names of their own; thoughts lie beside the output there, as the total shows. */
function renamed(usage: Json): Json {
  return {
    input_tokens: usage.promptTokenCount,
    output_tokens: usage.responseTokenCount,
    reasoning_tokens: usage.thoughtsTokenCount,
    cached_tokens: usage.cachedContentTokenCount,
    total_tokens: usage.totalTokenCount,
  };
}
