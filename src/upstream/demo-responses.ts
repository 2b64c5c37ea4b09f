/** Responses of the demo model, as OpenAI's agents and SDKs ask for them. */
import { z } from 'zod';
import type { Clock } from '../lib/clock.ts';
import { uuidv7 } from '../lib/ids.ts';
import { type DemoAnswer, JSON_TYPE, refusal, replyTo, SSE_TYPE, textOf } from './demo-words.ts';

const itemSchema = z.looseObject({ role: z.string().nullish(), content: z.unknown().optional() });
const bodySchema = z.looseObject({
  input: z.union([z.string(), z.array(itemSchema).min(1)]),
  instructions: z.string().nullish(),
  stream: z.boolean().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
});
type Body = z.infer<typeof bodySchema>;

/** What it answers to a body: a response, a stream of one, or what is wrong with it. */
export function responseAnswer(json: unknown, model: string, clock: Clock): DemoAnswer {
  const body = bodySchema.safeParse(json);
  if (!body.success) return refusal(400, body.error.issues[0]?.path.join('.') ?? '');
  const texts = textsOf(body.data);
  const reply = replyTo(texts.at(-1)!, texts, body.data.max_output_tokens);
  const unique = uuidv7(clock);
  const parts = partsOf({ response: `resp_demo_${unique}`, message: `msg_demo_${unique}` }, reply.words);
  const begun = {
    id: `resp_demo_${unique}`,
    object: 'response',
    created_at: Math.floor(clock.now() / 1000),
    status: 'in_progress',
    error: null,
    incomplete_details: null,
    instructions: body.data.instructions ?? null,
    model,
    output: [] as object[],
    parallel_tool_calls: true,
    tool_choice: 'auto',
    tools: [],
    // Nothing of it can be read again.
    store: false,
    usage: null,
  };
  const ended = {
    ...begun,
    status: reply.isCut ? 'incomplete' : 'completed',
    incomplete_details: reply.isCut ? { reason: 'max_output_tokens' } : null,
    output: [parts.item],
    usage: usageOf(reply.prompt, reply.words.length),
  };
  if (body.data.stream !== true) {
    return { status: 200, contentType: JSON_TYPE, frames: [Buffer.from(JSON.stringify(ended))] };
  }
  return { status: 200, contentType: SSE_TYPE, frames: framesOf(begun, parts.events, ended) };
}

/** The texts that it reads; the last is the user's. */
function textsOf({ input, instructions }: Body): string[] {
  const before = instructions ? [instructions] : [];
  if (typeof input === 'string') return [...before, input];
  const lastUser = input.findLast(({ role }) => role === 'user');
  const others = input.filter((item) => item !== lastUser);
  return [
    ...before,
    ...[...others, ...(lastUser === undefined ? [] : [lastUser])].map(({ content }) => textOf(content)),
  ];
}

function usageOf(input: number, output: number): object {
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: input + output,
  };
}

/** The one message of a response, and the events that tell it. */
function partsOf(
  ids: { response: string; message: string },
  words: readonly string[],
): { item: object; events: object[] } {
  const text = words.join('');
  const part = { type: 'output_text', text, annotations: [], logprobs: [] };
  const item = { id: ids.message, type: 'message', status: 'completed', role: 'assistant', content: [part] };
  const at = { item_id: ids.message, output_index: 0, content_index: 0 };
  const events = [
    { type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...at, part: { ...part, text: '' } },
    ...words.map((delta) => ({ type: 'response.output_text.delta', ...at, delta, logprobs: [] })),
    { type: 'response.output_text.done', ...at, text, logprobs: [] },
    { type: 'response.content_part.done', ...at, part },
    { type: 'response.output_item.done', output_index: 0, item },
  ];
  return { item, events };
}

/** One element per moment. */
function framesOf(begun: object, events: readonly object[], ended: { status: string }): Buffer[] {
  const all = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    ...(events as { type: string }[]),
    { type: `response.${ended.status}`, response: ended },
  ];
  return all.map((event, index) =>
    Buffer.from(`event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: index })}\n\n`),
  );
}
