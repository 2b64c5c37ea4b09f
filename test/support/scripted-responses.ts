/**
 * Scripts of a provider of the Responses API, for the scripted upstream: answers and streams as the recorded ones look. A stream has
 * its response three times, as at OpenAI: created, in progress, and as it ended; each item is added, told in deltas, and repeated.
 */
import { once } from 'node:events';
import type { Exchange, Script, Step, Usage } from './scripted-upstream.ts';

export interface ResponseUsage {
  input_tokens: number;
  input_tokens_details?: { cached_tokens: number; cache_write_tokens?: number };
  output_tokens: number;
  output_tokens_details?: { reasoning_tokens: number };
  total_tokens: number;
}

export interface ResponsesAnswer {
  id?: string;
  /** The pieces of the text; a stream has one delta for each of them. Empty: there is no message. */
  pieces?: string[];
  /** Pieces of a summary of thoughts, before all else. */
  thoughts?: string[];
  /** Calls of the client's functions, after the message. */
  calls?: { name: string; arguments: string; call_id?: string }[];
  /** Items of the output as they are, before the message: calls of hosted tools. */
  items?: Record<string, unknown>[];
  /** What the provider says it used; null: it says nothing. */
  usage?: ResponseUsage | null;
  /** How it ended. */
  status?: 'completed' | 'incomplete' | 'failed';
  /** Of one that failed. */
  error?: { code: string; message: string };
  /** Of a stream that failed: whether an `error` event goes before `response.failed`. */
  tellsError?: boolean;
  /** Fields of the response beside these, such as `tool_usage`, `service_tier`. */
  more?: Record<string, unknown>;
}

export function responseUsage(input: number, output: number, reasoning = 0, cached = 0): ResponseUsage {
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: cached, cache_write_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: input + output,
  };
}

/** A response, as JSON or as a stream, whichever the request asks for. */
export function responses(answer: ResponsesAnswer = {}): Script {
  return (exchange) =>
    (exchange.request.json.stream === true ? responsesStream(answer) : responsesJson(answer))(exchange);
}

export function responsesJson(answer: ResponsesAnswer = {}): Script {
  return (exchange) => {
    const body = ended(answer, exchange);
    served(answer, exchange);
    sendJson(exchange, body);
  };
}

/** `POST /responses/input_tokens`. */
export function inputTokens(count: number): Script {
  return (exchange) => sendJson(exchange, { object: 'response.input_tokens', input_tokens: count });
}

/** `POST /responses/compact`. */
export function compaction(usage: ResponseUsage = responseUsage(12, 3)): Script {
  return (exchange) => {
    served({ usage }, exchange);
    const output = [{ id: 'cmp_scripted', type: 'compaction', encrypted_content: 'gAAAAABscripted' }];
    sendJson(exchange, { id: 'resp_scripted', object: 'response.compaction', created_at: CREATED, output, usage });
  };
}

/** A streamed response; `step` runs before each frame, and before the stream ends: the place for waits and faults. */
export function responsesStream(answer: ResponsesAnswer = {}, step: Step = () => {}): Script {
  return async (exchange) => {
    const { response } = exchange;
    const events = eventsOf(answer, exchange);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
    for (let index = 0; index <= events.length; index++) {
      await step(index, exchange);
      if (response.destroyed || response.writableEnded) return;
      const event = events[index];
      if (event === undefined) break;
      if (index === events.length - 1) served(answer, exchange);
      const frame = `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: index })}\n\n`;
      if (!response.write(frame)) await Promise.race([once(response, 'drain'), exchange.request.ended]);
    }
    response.end();
  };
}

/** How many frames such a stream has. */
export function framesOf(answer: ResponsesAnswer, request: Record<string, unknown> = {}): number {
  return eventsOf(answer, { request: { json: request } } as unknown as Exchange).length;
}

const CREATED = 1_784_652_627;
const NOTHING_DRAWN = { input_tokens: 0, output_tokens: 0, total_tokens: 0 };

type Event = { type: string } & Record<string, unknown>;
type Item = Record<string, unknown>;

function filled({ pieces = ['Hello', ' wide', ' world'], usage = responseUsage(12, 3), ...rest }: ResponsesAnswer) {
  return {
    id: 'resp_scripted',
    status: 'completed' as const,
    thoughts: [],
    calls: [],
    items: [],
    ...rest,
    pieces,
    usage,
  };
}

function begun(answer: ResponsesAnswer, { request: { json } }: Exchange): Record<string, unknown> {
  return {
    ...{ id: filled(answer).id, object: 'response', created_at: CREATED, status: 'in_progress', background: false },
    ...{ error: null, incomplete_details: null, instructions: json.instructions ?? null },
    ...{ max_output_tokens: json.max_output_tokens ?? null, max_tool_calls: null, model: json.model ?? 'none' },
    ...{ output: [], parallel_tool_calls: true, previous_response_id: json.previous_response_id ?? null },
    ...{ reasoning: { effort: null, summary: null }, service_tier: 'auto', store: json.store ?? true, temperature: 1 },
    ...{ text: json.text ?? { format: { type: 'text' } }, tool_choice: 'auto', tools: json.tools ?? [], top_p: 1 },
    ...{ truncation: 'disabled', usage: null, user: null, metadata: {} },
  };
}

function ended(answer: ResponsesAnswer, exchange: Exchange): Record<string, unknown> {
  const { status, usage, more } = filled(answer);
  const failure = { code: 'server_error', message: 'The scripted provider failed.' };
  return {
    ...begun(answer, exchange),
    ...{ status, output: outputOf(answer), usage, service_tier: 'default' },
    ...{ tool_usage: { image_gen: NOTHING_DRAWN, web_search: { num_requests: 0 } } },
    error: status === 'failed' ? (answer.error ?? failure) : null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    ...more,
  };
}

function outputOf(answer: ResponsesAnswer): Item[] {
  const { pieces, thoughts, calls, items } = filled(answer);
  const summary = [{ type: 'summary_text', text: thoughts.join('') }];
  return [
    ...(thoughts.length > 0 ? [{ id: 'rs_scripted', type: 'reasoning', summary }] : []),
    ...items,
    ...(pieces.length > 0 ? [message('completed', [textPart(pieces.join(''))])] : []),
    ...calls.map((call, i) => callItem(call, i, 'completed')),
  ];
}

const message = (status: string, content: object[]): Item => ({
  ...{ id: 'msg_scripted', type: 'message', status, content, role: 'assistant' },
});
const textPart = (text: string) => ({ type: 'output_text', annotations: [], logprobs: [], text });
const callItem = (
  { call_id, ...call }: { name: string; arguments: string; call_id?: string },
  i: number,
  status: string,
): Item => ({
  ...{ id: `fc_scripted_${i}`, type: 'function_call', status, call_id: call_id ?? `call_scripted_${i}`, ...call },
});

function eventsOf(answer: ResponsesAnswer, exchange: Exchange): Event[] {
  const { status, tellsError } = filled(answer);
  const response = begun(answer, exchange);
  const last = ended(answer, exchange);
  const error = { type: 'server_error', param: null, ...(last.error as object | null) };
  return [
    { type: 'response.created', response },
    { type: 'response.in_progress', response },
    ...outputOf(answer).flatMap((item, output_index) =>
      itemEvents(item, answer).map((event) => ({ ...event, output_index })),
    ),
    ...(tellsError === true ? [{ type: 'error', error }] : []),
    { type: `response.${status}`, response: last },
  ];
}

function itemEvents(item: Item, answer: ResponsesAnswer): Event[] {
  const at = { item_id: item.id, content_index: 0 };
  const done = { type: 'response.output_item.done', item };
  const added = (first: Item) => ({ type: 'response.output_item.added', item: { ...first, status: 'in_progress' } });
  if (item.type === 'message') {
    const { pieces } = filled(answer);
    const text = pieces.join('');
    return [
      added({ ...item, content: [] }),
      { type: 'response.content_part.added', ...at, part: textPart('') },
      ...pieces.map((delta) => ({ type: 'response.output_text.delta', ...at, delta, logprobs: [] })),
      { type: 'response.output_text.done', ...at, text, logprobs: [] },
      { type: 'response.content_part.done', ...at, part: textPart(text) },
      done,
    ];
  }
  if (item.type === 'function_call') {
    const args = String(item.arguments);
    return [
      added({ ...item, arguments: '' }),
      { type: 'response.function_call_arguments.delta', item_id: item.id, delta: args },
      { type: 'response.function_call_arguments.done', item_id: item.id, name: item.name, arguments: args },
      done,
    ];
  }
  if (item.type === 'reasoning') return [added({ ...item, summary: [] }), ...summaryEvents(item, answer), done];
  return [added(item), done];
}

function summaryEvents(item: Item, answer: ResponsesAnswer): Event[] {
  const { thoughts } = filled(answer);
  const at = { item_id: item.id, summary_index: 0 };
  const part = (text: string) => ({ ...at, part: { type: 'summary_text', text } });
  return [
    { type: 'response.reasoning_summary_part.added', ...part('') },
    ...thoughts.map((delta) => ({ type: 'response.reasoning_summary_text.delta', ...at, delta })),
    { type: 'response.reasoning_summary_text.done', ...at, text: thoughts.join('') },
    { type: 'response.reasoning_summary_part.done', ...part(thoughts.join('')) },
  ];
}

/** Notes what is reported, by the names of chat. */
function served(answer: ResponsesAnswer, exchange: Exchange): void {
  const { usage } = filled(answer);
  if (usage === null) return;
  const { input_tokens: prompt_tokens, output_tokens: completion_tokens, total_tokens } = usage;
  exchange.serve({ prompt_tokens, completion_tokens, total_tokens } satisfies Usage);
}

function sendJson({ response }: Exchange, body: object): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length });
  response.end(bytes);
}
