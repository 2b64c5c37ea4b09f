/**
 * The dialects of OpenAI's other endpoints, alike in that an answer has its usage at its top, if it has any, and a stream
 * in its last event: embeddings, images, speech, transcriptions and translations; moderations and counts of tokens, whose
 * answers use nothing that is counted.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import type { Json } from '../../lib/json.ts';
import { JsonSkeleton } from '../../lib/json-skeleton.ts';
import { normalise, readAnyUsage, readUsage, termsIn } from './chat-usage.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import type { Answer, Dialect, FrameKind, Framing, Reported } from './types.ts';

/** What tells these dialects apart. */
export interface Shape {
  /** Reads the usage of an answer or event. */
  read(answer: Json): Reported | null;
  terms(answer: Json): Terms;
  /** Pictures that an answer, or an event, holds; `null`: it does not say. */
  pictures(answer: Json): number | null;
  /** Text that a model wrote into an answer. */
  text(answer: Json): string | null;
  normalise(reported: Reported): Usage;
}

export const PLAIN: Shape = {
  read: ({ usage }) => readUsage(usage),
  terms: (answer) => termsIn(answer) ?? {},
  pictures: () => null,
  text: () => null,
  normalise: (reported) => normalise(reported),
};

/** There is no output: a total above the input is more input. Ollama's own answers have their count at the top. */
export const embeddings: Dialect = bulky({
  ...PLAIN,
  read: ({ usage, prompt_eval_count }) => readUsage(usage) ?? readUsage({ input_tokens: prompt_eval_count }),
  normalise: (reported) => normalise({ ...reported, input_tokens: embedded(reported), output_tokens: 0 }),
});

function embedded({ input_tokens = 0, output_tokens = 0, total_tokens = 0 }: Reported): number {
  return Math.max(input_tokens + output_tokens, total_tokens);
}

/** Generations, edits and variations. Older models, and other providers', report no usage, or what it has cost. */
export const images: Dialect = bulky({
  ...PLAIN,
  read: ({ usage }) => readAnyUsage(usage),
  terms: (answer) => ({
    ...termsIn(answer),
    ...(typeof answer.size === 'string' ? { imageSize: answer.size } : {}),
    ...(typeof answer.quality === 'string' ? { imageQuality: answer.quality } : {}),
  }),
  pictures: ({ data, type, b64_json }) => {
    if (Array.isArray(data)) return data.length;
    return typeof b64_json === 'string' && typeof type === 'string' && type.endsWith('.completed') ? 1 : null;
  },
  normalise: (reported) => normalise(reported, 'output_image'),
});

/** Transcriptions and translations: by tokens, or by the seconds of what was heard. */
export const transcriptions = dialect({
  ...PLAIN,
  text: ({ text }) => (typeof text === 'string' ? text : null),
});

/** A binary answer reports nothing: it is billed by the characters of the request. */
export const speech: Dialect = bulky({ ...PLAIN, normalise: (reported) => normalise(reported, 'output_audio') });

/** Nothing is used: a count of tokens at the top of an answer is the answer, and no bill. */
export const unmetered: Dialect = { ...dialect({ ...PLAIN, read: () => null }), unmetered: true };

function bulky(shape: Shape): Dialect {
  return { ...dialect(shape), bulky: true, stream: (framing) => new BulkyReader(shape, framing) };
}

/** A dialect of such a shape, in JSON or server-sent events. */
export function dialect(shape: Shape): Dialect {
  return {
    framing: 'sse',
    readJson: (body) => readJson(shape, body),
    stream: (framing) => new AnswerReader(shape, framing),
    normalise: shape.normalise,
  };
}

function readJson(shape: Shape, body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = shape.read(json);
  const pictures = shape.pictures(json);
  const text = reported === null ? shape.text(json) : null;
  return {
    reported,
    terms: shape.terms(json),
    beside: pictures === null ? {} : { image: pictures },
    generatedText: text === null ? [] : [text],
    isError: Boolean(json.error),
  };
}

class AnswerReader extends EventReader {
  readonly #shape: Shape;

  constructor(shape: Shape, framing: Framing) {
    super(framing);
    this.#shape = shape;
  }

  protected override see(event: Json): FrameKind {
    this.reported = this.#shape.read(event) ?? this.reported;
    this.said = { ...this.said, ...this.#shape.terms(event) };
    const pictures = this.#shape.pictures(event);
    if (pictures !== null) this.add('image', pictures);
    if (typeof event.delta === 'string') this.text.add(event.delta);
    if (event.error || event.type === 'error') return 'error';
    // `image_generation.completed`, `transcript.text.done`, `speech.audio.done`.
    if (typeof event.type !== 'string' || !/\.(completed|done)$/.test(event.type)) return 'content';
    this.finished = true;
    return 'done';
  }
}

/** A frame that is longer is mostly a picture, or sound. */
const PLAIN_FRAME_BYTES = 64 * 1024;

/** Does not parse what it does not need. */
class BulkyReader extends AnswerReader {
  override frame(frame: Buffer): FrameKind {
    if (frame.length <= PLAIN_FRAME_BYTES) return super.frame(frame);
    const skeleton = new JsonSkeleton();
    skeleton.push(frame);
    return super.frame(skeleton.read() ?? frame);
  }
}
