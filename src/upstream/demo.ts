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
import type { Clock } from '../lib/clock.ts';
import { chatAnswer } from './demo-chat.ts';
import { responseAnswer } from './demo-responses.ts';
import { type DemoAnswer, refusal } from './demo-words.ts';
import type { Attempt, Provider, UpstreamListener, UpstreamRequest } from './types.ts';

/** About 50 frames a second, the pace of a fast model. */
const FRAME_MS = 20;

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
  readonly #answer: DemoAnswer;
  readonly #listener: UpstreamListener;
  readonly #frameMs: number;
  #next = 0;
  #timer: NodeJS.Timeout | null;
  #over = false;

  constructor(answer: DemoAnswer, listener: UpstreamListener, frameMs: number) {
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

/** By the path, as a provider would. */
function answerTo(request: UpstreamRequest, clock: Clock): DemoAnswer {
  const json = readJson(request.body);
  switch (request.path) {
    case '/chat/completions':
      return chatAnswer(json, request.upstreamModel, clock);
    case '/responses':
      return responseAnswer(json, request.upstreamModel, clock);
    default:
      return refusal(404, 'model', 'The demo model answers /v1/chat/completions and /v1/responses, and nothing else.');
  }
}

/** It hears and draws nothing: a form is no request to it. */
function readJson(body: UpstreamRequest['body']): unknown {
  try {
    return Buffer.isBuffer(body) ? JSON.parse(body.toString()) : undefined;
  } catch {
    return undefined;
  }
}
