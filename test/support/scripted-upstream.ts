/**
 * A scripted fake of a provider of chat completions, on a real socket. A test says with a script how it answers, looks
 * at what reached it (`requests`, byte for byte) and at what it claims to have served (`served`, the other half of
 * every ledger gate). Scripts are small functions that compose: `held(chat())`, `stream({}, at(2, reset))`.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  [detail: string]: unknown;
}

export interface ChatBody {
  model?: string;
  stream?: boolean;
  n?: number;
  stream_options?: { include_usage?: boolean } | null;
  [field: string]: unknown;
}

export interface RecordedRequest {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** The body read as JSON; `{}` when it is none. */
  json: ChatBody;
  /** How the answer ended: 'whole' when it was sent to its end, 'cut' when either side broke the connection before. */
  ended: Promise<'whole' | 'cut'>;
}

export interface Exchange {
  request: RecordedRequest;
  response: ServerResponse;
  /** Waits for `release()`; at once when it was called since the last `script()`. */
  held(): Promise<void>;
  /** Notes usage in `served`: a script calls it when it writes that usage. */
  serve(usage: Usage): void;
}

export type Script = (exchange: Exchange) => void | Promise<void>;
/** Runs before frame number `index` is written; a step that ends the response ends the stream. */
export type Step = (index: number, exchange: Exchange) => void | Promise<void>;

export interface ScriptedUpstream {
  /** The base URL, as in the configuration: `http://127.0.0.1:<port>/v1`. */
  url: string;
  requests: RecordedRequest[];
  served: { request: RecordedRequest; usage: Usage }[];
  /** Answers every request from now on by this script; what was held stays held until `release()`. */
  script(script: Script | ScriptName): void;
  /** Lets all held requests go on, and those that come until the next `script()`. */
  release(): void;
  /** Resolves when that many requests have arrived in all. */
  arrived(count: number): Promise<void>;
  close(): Promise<void>;
}

/** Starts it on a free port of the loopback interface, answering as `plain` does. */
export async function startScriptedUpstream(): Promise<ScriptedUpstream> {
  let current: Script = scripts.plain;
  const gates = [Promise.withResolvers<void>()];
  const requests: RecordedRequest[] = [];
  const served: ScriptedUpstream['served'] = [];
  const server = createServer({ keepAliveTimeout: 60_000 }, async (incoming, response) => {
    const request = await record(incoming, response).catch(() => null);
    if (request === null) return; // The client hung up before its request was whole.
    requests.push(request);
    server.emit('recorded');
    const { promise } = gates.at(-1)!;
    await current({ request, response, held: () => promise, serve: (usage) => void served.push({ request, usage }) });
  });
  server.on('connection', (socket) => socket.setNoDelay(true));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    served,
    script(next) {
      current = typeof next === 'string' ? scripts[next] : next;
      gates.push(Promise.withResolvers());
    },
    release() {
      for (const { resolve } of gates) resolve();
    },
    async arrived(count) {
      while (requests.length < count) await once(server, 'recorded');
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function record(incoming: IncomingMessage, response: ServerResponse): Promise<RecordedRequest> {
  const ended = new Promise<'whole' | 'cut'>((resolve) => {
    response.once('close', () => resolve(response.writableFinished ? 'whole' : 'cut'));
  });
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  return { method: incoming.method!, path: incoming.url!, headers: incoming.headers, body, json: parse(body), ended };
}

function parse(body: Buffer): ChatBody {
  try {
    return (JSON.parse(body.toString()) ?? {}) as ChatBody;
  } catch {
    return {};
  }
}

export interface Answer {
  /** The pieces of the text; a stream has one frame for each of them and choice. */
  pieces?: string[];
  /** What the provider says it used; null: it says nothing. */
  usage?: Usage | null;
  /** Answers with one call of this function instead of text. */
  tool?: { name: string; arguments: string };
  /** Streams only. */
  eol?: '\n' | '\r\n';
  /** Streams only: each write carries at most this many bytes, in a turn of the event loop of its own. */
  writeBytes?: number;
}

export function usage(prompt: number, completion: number, details: Record<string, unknown> = {}): Usage {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, ...details };
}

/** A completion, as JSON or as a stream, whichever the request asks for. */
export function chat(answer: Answer = {}): Script {
  return (exchange) => (exchange.request.json.stream === true ? stream(answer) : json(answer))(exchange);
}

function filled({ pieces = ['Hello', ' wide', ' world'], usage: stated = usage(12, 3), ...rest }: Answer) {
  return { pieces, usage: stated, ...rest };
}

const choicesOf = (request: RecordedRequest) => Array.from({ length: request.json.n ?? 1 }, (_, index) => index);
const head = ({ json }: RecordedRequest, object: string, fields: object): Record<string, unknown> => ({
  ...{ id: 'chatcmpl-scripted', object, created: 1_760_000_000, model: json.model ?? 'none' },
  ...fields,
});
const callOf = (tool: { name: string; arguments: string }) => ({ id: 'call_1', type: 'function', function: tool });

export function json(partial: Answer = {}): Script {
  const answer = filled(partial);
  const message = answer.tool
    ? { role: 'assistant', content: null, tool_calls: [callOf(answer.tool)] }
    : { role: 'assistant', content: answer.pieces.join(''), refusal: null };
  const finish_reason = answer.tool ? 'tool_calls' : 'stop';
  return ({ request, response, serve }) => {
    const choices = choicesOf(request).map((index) => ({ index, message, logprobs: null, finish_reason }));
    if (answer.usage) serve(answer.usage);
    sendJson(response, 200, head(request, 'chat.completion', { choices, usage: answer.usage ?? undefined }));
  };
}

function sendJson(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length, ...headers });
  response.end(bytes);
}

/** The payloads of a stream's frames, without [DONE]; the usage chunk comes last, and only when it was asked for. */
function payloads(answer: ReturnType<typeof filled>, request: RecordedRequest): Record<string, unknown>[] {
  const asked = request.json.stream_options?.include_usage === true;
  const chunk = (fields: object) =>
    head(request, 'chat.completion.chunk', { usage: asked ? null : undefined, ...fields });
  const deltas = answer.tool
    ? [{ role: 'assistant', tool_calls: [{ index: 0, ...callOf(answer.tool) }] }]
    : answer.pieces.map((content, i) => (i === 0 ? { role: 'assistant', content } : { content }));
  const choices = choicesOf(request);
  const frames = deltas.flatMap((delta) =>
    choices.map((index) => chunk({ choices: [{ index, delta, finish_reason: null }] })),
  );
  const finish_reason = answer.tool ? 'tool_calls' : 'stop';
  for (const index of choices) frames.push(chunk({ choices: [{ index, delta: {}, finish_reason }] }));
  if (asked && answer.usage) frames.push(chunk({ choices: [], usage: answer.usage }));
  return frames;
}

/** A streamed completion; `step` runs before each frame, [DONE] included: the place for waits and faults. */
export function stream(partial: Answer = {}, step: Step = () => {}): Script {
  const answer = filled(partial);
  const eol = answer.eol ?? '\n';
  return async (exchange) => {
    const { request, response } = exchange;
    const frames = payloads(answer, request);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
    for (let index = 0; index <= frames.length; index++) {
      await step(index, exchange);
      if (response.destroyed || response.writableEnded) return;
      const payload = frames[index];
      if (payload?.usage) exchange.serve(payload.usage as Usage);
      const frame = Buffer.from(`data: ${payload ? JSON.stringify(payload) : '[DONE]'}${eol}${eol}`);
      await write(exchange, frame, answer.writeBytes ?? frame.length);
    }
    response.end();
  };
}

/** Writes and waits until the socket has taken it, so that a paused reader pauses the script. */
async function write({ request, response }: Exchange, bytes: Buffer, perWrite: number): Promise<void> {
  for (let at = 0; at < bytes.length && !response.destroyed; at += perWrite) {
    if (perWrite < bytes.length) await nextTurn();
    if (!response.write(bytes.subarray(at, at + perWrite))) {
      await Promise.race([once(response, 'drain'), request.ended]);
    }
  }
}

/** An error in OpenAI's form. */
export function error(status: number, type: string, code: string | null, headers: Record<string, string> = {}): Script {
  const body = { error: { message: `The scripted provider answers ${status}.`, type, param: null, code } };
  return ({ response }) => sendJson(response, status, body, headers);
}

/** Answers only once the upstream is released. */
export function held(script: Script): Script {
  return async (exchange) => {
    await exchange.held();
    await script(exchange);
  };
}

/** The first request gets the first script, and so on; the last one stays. */
export function sequence(...all: [Script, ...Script[]]): Script {
  let next = 0;
  return (exchange) => all[Math.min(next++, all.length - 1)]!(exchange);
}

/** An informational answer, then the script. */
export function informed(script: Script): Script {
  return (exchange) => {
    exchange.response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    return script(exchange);
  };
}

export const never: Script = () => {};
export const redirect: Script = ({ response }) =>
  sendJson(response, 302, {}, { location: 'http://169.254.169.254/latest/meta-data' });

export const at =
  (frame: number, action: Script): Step =>
  (index, exchange) =>
    index === frame ? action(exchange) : undefined;
export const hold: Script = ({ held }) => held();
export const drip =
  (ms: number): Step =>
  () =>
    sleep(ms);
/** RST, the way a crashed provider breaks a connection; what was written before leaves first. */
export const reset: Script = ({ response }) => nextTurn().then(() => void response.socket?.resetAndDestroy());
/** The stream ends as if it were whole, but for its missing [DONE]. */
export const endEarly: Script = ({ response }) => void response.end();
export const errorFrame: Script = ({ response }) => {
  const error = { message: 'The server had an error.', type: 'server_error', param: null, code: null };
  response.end(`data: ${JSON.stringify({ error })}\n\n`);
};

export type ScriptName = keyof typeof scripts;

/** The usual ones by name. */
export const scripts = {
  plain: chat(),
  held: held(chat()),
  firstFrameThenHold: stream({}, at(1, hold)),
  tools: chat({ tool: { name: 'get_weather', arguments: '{"city":"Paris"}' } }),
  usageMissing: chat({ usage: null }),
  usageZero: chat({ usage: usage(0, 0) }),
  crlf: chat({ eol: '\r\n' }),
  split: chat({ pieces: ['Grüße', ' 世界', ' 🌍'], writeBytes: 7 }),
  giantFrame: chat({ pieces: ['x'.repeat(4 * 1024 * 1024)] }),
  slowDrip: stream({}, drip(50)),
  badRequest: error(400, 'invalid_request_error', 'invalid_value'),
  unauthorized: error(401, 'invalid_request_error', 'invalid_api_key'),
  notFound: error(404, 'invalid_request_error', 'model_not_found'),
  rateLimited: error(429, 'tokens', 'rate_limit_exceeded', {
    'retry-after': '20',
    'x-ratelimit-remaining-tokens': '0',
  }),
  outOfQuota: error(429, 'insufficient_quota', 'insufficient_quota'),
  serverError: error(500, 'server_error', null),
  errorMidStream: stream({}, at(2, errorFrame)),
  resetBeforeHead: reset,
  resetMidStream: stream({}, at(2, reset)),
  endWithoutDone: stream({}, at(2, endEarly)),
  never,
  redirect,
  informed: informed(chat()),
} satisfies Record<string, Script>;
