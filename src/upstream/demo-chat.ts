/** Chat completions of the demo model. */
import { z } from 'zod';
import type { Clock } from '../lib/clock.ts';
import { uuidv7 } from '../lib/ids.ts';
import { type DemoAnswer, JSON_TYPE, refusal, replyTo, SSE_TYPE, textOf } from './demo-words.ts';

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

/** What it answers to a body: a completion, a stream of one, or what is wrong with it. */
export function chatAnswer(json: unknown, model: string, clock: Clock): DemoAnswer {
  const body = bodySchema.safeParse(json);
  if (!body.success) return refusal(400, body.error.issues[0]?.path.join('.') ?? '');
  const completion = complete(body.data);
  const head = { id: `chatcmpl-demo-${uuidv7(clock)}`, created: Math.floor(clock.now() / 1000), model };
  if (body.data.stream !== true) return { status: 200, contentType: JSON_TYPE, frames: [whole(head, completion)] };
  const includeUsage = body.data.stream_options?.include_usage === true;
  return { status: 200, contentType: SSE_TYPE, frames: sse(head, completion, includeUsage) };
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
  const { words, isCut, prompt } = replyTo(lastUser, texts, body.max_completion_tokens ?? body.max_tokens);
  const n = body.n ?? 1;
  return {
    words,
    choices: Array.from({ length: n }, (_, index) => index),
    finishReason: isCut ? 'length' : 'stop',
    usage: {
      prompt_tokens: prompt,
      completion_tokens: words.length * n,
      total_tokens: prompt + words.length * n,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 0 },
    },
  };
}

function whole(head: object, { words, choices, finishReason, usage }: Completion): Buffer {
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
