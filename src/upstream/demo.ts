/**
 * The built-in `demo` provider: answers in the process, offline and at once, so that a newcomer sees a request held,
 * streamed, settled and explained without an account anywhere. Its tokens are words, its pace is even.
 *
 *    waiting ──a frame's time──▶ deliver one frame ──▶ waiting … ──▶ over (onEnd)
 *                                     │ onData: false    ▲
 *                                     ▼      resume()    │
 *                                   paused ──────────────┘
 *    any ──abort()──▶ over: the listener hears nothing more
 */
import { z } from 'zod';
import type { Clock } from '../lib/clock.ts';
import { uuidv7 } from '../lib/ids.ts';
import type { Attempt, Provider, UpstreamListener, UpstreamRequest } from './types.ts';

/** About 50 frames a second, the pace of a fast model. */
const FRAME_MS = 20;
/** How much of the user's message is echoed. */
const ECHO_CHARS = 200;
/** A token of English text is about four characters. */
const CHARS_PER_TOKEN = 4;

const limit = z.int().min(1).nullish();
const bodySchema = z.looseObject({
  messages: z.array(z.looseObject({ role: z.string(), content: z.unknown().optional() })).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  n: z.int().min(1).max(128).nullish(),
  max_tokens: limit,
  max_completion_tokens: limit,
});
type Body = z.infer<typeof bodySchema>;

/** What will be answered: the head, and the pieces of the body that leave one frame time apart. */
interface Answer {
  status: number;
  contentType: string;
  frames: Buffer[];
}

/** The demo provider. `frameMs`: milliseconds between two frames. */
export function createDemoProvider(name: string, clock: Clock, frameMs: number = FRAME_MS): Provider {
  return {
    name,
    kind: 'demo',
    dialect: 'chat',
    outputLimitField: 'max_completion_tokens',
    tellsUsageUnasked: false,
    tenants: 'as_sent',
    storesNothing: false,
    send: (request, listener) => new DemoAttempt(answerTo(request, clock), listener, frameMs),
    close: async () => {},
  };
}

class DemoAttempt implements Attempt {
  readonly sent = true;
  readonly #answer: Answer;
  readonly #listener: UpstreamListener;
  readonly #frameMs: number;
  #next = 0;
  #timer: NodeJS.Timeout | null;
  #over = false;

  constructor(answer: Answer, listener: UpstreamListener, frameMs: number) {
    this.#answer = answer;
    this.#listener = listener;
    this.#frameMs = frameMs;
    this.#timer = this.#schedule();
  }

  resume(): void {
    if (!this.#over && this.#timer === null) this.#timer = this.#schedule();
  }

  abort(): void {
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #schedule(): NodeJS.Timeout {
    return setTimeout(() => this.#deliver(), this.#frameMs);
  }

  #deliver(): void {
    this.#timer = null;
    const { status, contentType, frames } = this.#answer;
    if (this.#next === 0) this.#listener.onStart(status, { 'content-type': contentType });
    const frame = frames[this.#next++];
    const more = this.#over || frame === undefined || this.#listener.onData(frame);
    if (this.#over) return;
    if (this.#next < frames.length) {
      if (more) this.resume();
    } else if (more) {
      this.#over = true;
      this.#listener.onEnd();
    }
  }
}

function answerTo(request: UpstreamRequest, clock: Clock): Answer {
  const body = readBody(request.body);
  if (!body.success) {
    const param = body.error.issues[0]?.path.join('.') ?? '';
    const error = {
      message: `Invalid value: '${param}'.`,
      type: 'invalid_request_error',
      param,
      code: 'invalid_value',
    };
    return { status: 400, contentType: 'application/json', frames: [Buffer.from(JSON.stringify({ error }))] };
  }
  const completion = complete(body.data);
  const head = {
    id: `chatcmpl-demo-${uuidv7(clock)}`,
    created: Math.floor(clock.now() / 1000),
    model: request.upstreamModel,
  };
  if (body.data.stream === true) {
    const includeUsage = body.data.stream_options?.include_usage === true;
    return {
      status: 200,
      contentType: 'text/event-stream; charset=utf-8',
      frames: sse(head, completion, includeUsage),
    };
  }
  return { status: 200, contentType: 'application/json', frames: [json(head, completion)] };
}

function readBody(body: UpstreamRequest['body']): ReturnType<typeof bodySchema.safeParse> {
  try {
    // It hears and draws nothing: a form is no request to it.
    return bodySchema.safeParse(Buffer.isBuffer(body) ? JSON.parse(body.toString()) : undefined);
  } catch {
    return bodySchema.safeParse(undefined);
  }
}

interface Completion {
  words: string[];
  choices: number[];
  finishReason: 'stop' | 'length';
  usage: object;
}

/** The reply, cut to the client's limit, and what it counts. */
function complete(body: Body): Completion {
  const texts = body.messages.map((message) => textOf(message.content));
  const lastUser = texts[body.messages.findLastIndex((message) => message.role === 'user')] ?? '';
  const reply =
    `You said: "${lastUser.slice(0, ECHO_CHARS).toWellFormed()}". This is the built-in demo model: it runs offline, ` +
    'inside the gateway, so that you can watch a request being held, streamed, settled and explained.';
  const all = reply.match(/\s*\S+/g) ?? [];
  const words = all.slice(0, body.max_completion_tokens ?? body.max_tokens ?? all.length);
  const n = body.n ?? 1;
  const chars = texts.reduce((sum, text) => sum + text.length, 0);
  const prompt = Math.max(1, Math.ceil(chars / CHARS_PER_TOKEN));
  return {
    words,
    choices: Array.from({ length: n }, (_, index) => index),
    finishReason: words.length < all.length ? 'length' : 'stop',
    usage: {
      prompt_tokens: prompt,
      completion_tokens: words.length * n,
      total_tokens: prompt + words.length * n,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 0 },
    },
  };
}

/** The text of a message: a string, or the text parts of a list. */
function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part: { text?: unknown } | null) => (typeof part?.text === 'string' ? part.text : '')).join('');
}

function json(head: object, { words, choices, finishReason, usage }: Completion): Buffer {
  const message = { role: 'assistant', content: words.join(''), refusal: null };
  return Buffer.from(
    JSON.stringify({
      ...head,
      object: 'chat.completion',
      choices: choices.map((index) => ({ index, message, logprobs: null, finish_reason: finishReason })),
      usage,
    }),
  );
}

/** One element per moment: the frames of all choices that leave together. */
function sse(head: object, { words, choices, finishReason, usage }: Completion, includeUsage: boolean): Buffer[] {
  const chunk = (fields: object) =>
    `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', ...(includeUsage ? { usage: null } : {}), ...fields })}\n\n`;
  const moment = (delta: object, finish: string | null) =>
    Buffer.from(choices.map((index) => chunk({ choices: [{ index, delta, finish_reason: finish }] })).join(''));
  const usageChunk = includeUsage ? chunk({ choices: [], usage }) : '';
  return [
    moment({ role: 'assistant', content: '' }, null),
    ...words.map((content) => moment({ content }, null)),
    moment({}, finishReason),
    Buffer.from(`${usageChunk}data: [DONE]\n\n`),
  ];
}
