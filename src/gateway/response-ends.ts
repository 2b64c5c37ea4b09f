/** How a stream of the Responses API ends that no provider has ended: with what was told so far, in the form of its own ends. */
import type { Usage } from '../catalog/units.ts';
import type { Json } from '../lib/json.ts';
import type { SoFar, StreamReader } from '../metering/readers/types.ts';
import { type StreamEnds, tokensOf } from './stream-ends.ts';

const NOTHING: SoFar = { head: {}, output: [], open: [], sequence: 0 };

/**
 * The official clients take an `error` event that has an error object for an exception; agents such as Codex look at the code of
 * `response.failed` alone. A stream whose credits ran out is one that reached its output limit.
 */
export const responsesEnds: StreamEnds = {
  error: (error, reader) => {
    const told = error.body().error;
    const { head, output, sequence } = soFar(reader);
    const failure = { code: told.code, message: told.message };
    const ended = { incomplete_details: null, output, usage: null };
    return (
      event('error', { error: told, sequence_number: sequence }) +
      event('response.failed', {
        response: { object: 'response', ...head, status: 'failed', error: failure, ...ended },
        sequence_number: sequence + 1,
      })
    );
  },
  exhausted: (_like, usage, reader) => {
    const { head, output, open, sequence } = soFar(reader);
    const closing = open.flatMap((one) => closed(one));
    const response = {
      ...{ object: 'response', ...head, status: 'incomplete', error: null },
      ...{ incomplete_details: { reason: 'max_output_tokens' }, output, usage: usage === null ? null : totals(usage) },
    };
    const events: [string, Json][] = [...closing, ['response.incomplete', { response }]];
    return events.map(([type, fields], i) => event(type, { ...fields, sequence_number: sequence + i })).join('');
  },
};

function soFar(reader: StreamReader | null | undefined): SoFar {
  return reader?.soFar?.() ?? NOTHING;
}

/** The events that close an item, whose text was told in part. */
function closed({ item, output: output_index }: { item: Json; output: unknown }): [string, Json][] {
  const done: [string, Json] = ['response.output_item.done', { item, output_index }];
  const at = { item_id: item.id, output_index };
  if (item.type === 'function_call') {
    return [['response.function_call_arguments.done', { ...at, name: item.name, arguments: item.arguments }], done];
  }
  const content = item.type === 'message' && Array.isArray(item.content) ? (item.content as Json[]) : [];
  const parts = content.flatMap((part, content_index): [string, Json][] => {
    const isText = part.type === 'output_text';
    const text = isText ? { text: part.text, logprobs: [] } : { refusal: part.refusal };
    return [
      [isText ? 'response.output_text.done' : 'response.refusal.done', { ...at, content_index, ...text }],
      ['response.content_part.done', { ...at, content_index, part }],
    ];
  });
  return [...parts, done];
}

function totals(usage: Usage): Json {
  const { input, output } = tokensOf(usage);
  return {
    ...{ input_tokens: input, input_tokens_details: { cached_tokens: usage.cached_input ?? 0, cache_write_tokens: 0 } },
    ...{ output_tokens: output, output_tokens_details: { reasoning_tokens: usage.reasoning ?? 0 } },
    total_tokens: input + output,
  };
}

function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}
