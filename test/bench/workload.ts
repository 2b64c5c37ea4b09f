/**
 * What every contender is given and must give back, byte for byte: 1 KB requests, and answers of 1.4 KB of JSON or of 30
 * frames of 150 B with a usage chunk and `[DONE]`. The usage varies from answer to answer, so that a charge booked for
 * the wrong one shows in the ledger gate.
 */
export const MODES = ['json', 'sse'] as const;
export type Mode = (typeof MODES)[number];

export const MODEL = 'bench';
export const PATH = '/v1/chat/completions';
/** Tollgate reaches the mock below this path, so that the mock can tell what it served to be metered. */
export const METERED_PREFIX = '/metered';

const REQUEST_BYTES = 1024;
const ANSWER_BYTES = 1434;
const FRAMES = 30;
const FRAME_BYTES = 150;
const VARIANTS = 16;

/** The price of a token in nano-credits; in the catalog USD per million, at 1,000 credits to the dollar. */
export const INPUT_NANO = 1_000_000n;
export const OUTPUT_NANO = 2_000_000n;
export const CATALOG = `
models:
  ${MODEL}: { routes: [{ provider: mock, model: m }], max_output_tokens: 1000, context_window: 100000, price: { input: 1, output: 2 } }
plans:
  bench: { default: true, models: ["${MODEL}"], features: [] }
`;

export interface Usage {
  input: number;
  output: number;
}

export interface Answer {
  usage: Usage;
  /** A JSON body, or the frames of a stream: each is a chunk of its own. */
  parts: Buffer[];
}

/** The answers of a mode, all of one size. */
export function answers(mode: Mode): Answer[] {
  return Array.from({ length: VARIANTS }, (_, variant) => {
    const usage = { input: 220 + variant, output: 100 + 3 * variant };
    return { usage, parts: mode === 'json' ? [jsonAnswer(usage)] : streamAnswer(usage) };
  });
}

/** Bytes of an answer's payload, without the framing of HTTP. */
export function answerBytes(mode: Mode): number {
  return answers(mode)[0]!.parts.reduce((sum, part) => sum + part.length, 0);
}

/** A whole request as it goes over the wire. */
export function requestBytes(mode: Mode, key: string): Buffer {
  const stream = mode === 'sse' ? { stream: true, stream_options: { include_usage: true } } : {};
  const body = (content: string): string =>
    JSON.stringify({ model: MODEL, messages: [{ role: 'user', content }], max_tokens: 200, ...stream });
  return Buffer.from(
    `POST ${PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\n` +
      `accept: */*\r\ncontent-length: ${REQUEST_BYTES}\r\n\r\n${padded(REQUEST_BYTES, body)}`,
  );
}

/** Short, because the envelope of a frame would fill more than its 150 bytes. */
const IDENTITY = { id: 'c1', created: 1, model: 'm' };

function jsonAnswer(usage: Usage): Buffer {
  const body = (content: string): string =>
    JSON.stringify({
      ...IDENTITY,
      object: 'chat.completion',
      choices: [
        { index: 0, message: { role: 'assistant', content, refusal: null }, logprobs: null, finish_reason: 'stop' },
      ],
      usage: wireUsage(usage),
      service_tier: 'default',
      system_fingerprint: 'fp_bench',
    });
  return Buffer.from(padded(ANSWER_BYTES, body));
}

function streamAnswer(usage: Usage): Buffer[] {
  const chunk = (choices: object[], more: object = {}): string =>
    `data: ${JSON.stringify({ ...IDENTITY, object: 'chat.completion.chunk', choices, ...more })}\n\n`;
  const content = (finish: string | null): string =>
    padded(FRAME_BYTES, (text) => chunk([{ index: 0, delta: { content: text }, finish_reason: finish }]));
  const frames = Array.from({ length: FRAMES - 1 }, () => content(null));
  return [...frames, content('stop'), chunk([], { usage: wireUsage(usage) }), 'data: [DONE]\n\n'].map((frame) =>
    Buffer.from(frame),
  );
}

function wireUsage({ input, output }: Usage): object {
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

/** Text of exactly that many bytes, made by filling its content. */
function padded(bytes: number, make: (content: string) => string): string {
  const missing = bytes - make('').length;
  return make('The quick brown fox jumps over the lazy dog. '.repeat(40).slice(0, Math.max(missing, 0)));
}
