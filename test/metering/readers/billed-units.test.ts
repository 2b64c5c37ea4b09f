/** Cohere's billed units, Ollama's counts at the top, and rerankings. */
import { describe, expect, it } from 'vitest';
import { billed, streamed, whole } from './rig.ts';

const meta = { tokens: { input_tokens: 71, output_tokens: 12 }, billed_units: { input_tokens: 5, output_tokens: 10 } };
const reported = { input_tokens: 71, output_tokens: 12, billed_input_tokens: 5, billed_output_tokens: 10 };

function lines(...list: unknown[]): string {
  return list.map((one) => `${JSON.stringify(one)}\n`).join('');
}

describe('Cohere', () => {
  it.each([
    ['cohere-v1', { meta }],
    ['cohere-v2', { usage: { ...meta, cached_tokens: 48 } }],
  ])('%s is billed by billed units, more or fewer than the tokens', (style, body) => {
    expect(whole(style, body).reported).toMatchObject(reported);
    expect(billed(style, body).usage).toEqual({ input: 5, output: 10 });
  });

  it('is billed by its tokens where nothing else is told, and for its searches', () => {
    const usage = { tokens: meta.tokens, billed_units: { search_units: 2 } };
    expect(billed('cohere-v2', { usage }).usage).toEqual({ input: 71, output: 12, 'tool:search_unit': 2 });
  });

  it('streams lines in version 1, with the report in the last', () => {
    const text = { event_type: 'text-generation', text: 'Hi' };
    const end = { event_type: 'stream-end', finish_reason: 'COMPLETE', response: { text: 'Hi', meta } };
    expect(streamed('cohere-v1', lines(text, end), 'json-lines')).toMatchObject({
      kinds: ['content', 'done'],
      reported,
      finished: true,
      text: 'Hi',
    });
    const failed = { event_type: 'stream-end', finish_reason: 'ERROR', response: {} };
    expect(streamed('cohere-v1', lines(text, failed), 'json-lines')).toMatchObject({
      kinds: ['content', 'error'],
      reported: null,
    });
  });

  it('streams events in version 2, with text, plans and calls kept for counting', () => {
    const event = (type: string, delta: unknown) => `data: ${JSON.stringify({ type, delta })}\n\n`;
    const said = [
      event('tool-plan-delta', { message: { tool_plan: 'Go.' } }),
      event('tool-call-start', { message: { tool_calls: { function: { name: 'go', arguments: '' } } } }),
      event('content-delta', { message: { content: { text: 'Hi' } } }),
    ].join('');
    const end = (finish_reason: string) => event('message-end', { finish_reason, usage: meta });
    expect(streamed('cohere-v2', said + end('COMPLETE'))).toMatchObject({
      kinds: ['content', 'content', 'content', 'done'],
      reported,
      finished: true,
      text: 'Go.goHi',
    });
    expect(streamed('cohere-v2', said + end('ERROR')).kinds.at(-1)).toBe('error');
    expect(streamed('cohere-v2', said)).toMatchObject({ reported: null, finished: false });
  });
});

describe('Ollama', () => {
  it.each([
    ['ollama-chat', { message: { content: 'Hi' } }],
    ['ollama-gen', { response: 'Hi' }],
  ])('%s reports in the line that is done', (style, said) => {
    const done = { done: true, prompt_eval_count: 25, eval_count: 9 };
    expect(streamed(style, lines(said, done), 'json-lines')).toMatchObject({
      kinds: ['content', 'done'],
      reported: { input_tokens: 25, output_tokens: 9 },
      finished: true,
      text: 'Hi',
    });
    expect(streamed(style, lines(done, { done: true }), 'json-lines').reported).toEqual({
      input_tokens: 25,
      output_tokens: 9,
    });
    expect(streamed(style, lines(said, { error: 'no' }), 'json-lines').kinds).toEqual(['content', 'error']);
    expect(billed(style, { ...said, ...done }).usage).toEqual({ input: 25, output: 9 });
    expect(whole(style, said).generatedText).toEqual(['Hi']);
  });

  it('that answers in the form of chat completions is billed as these are', () => {
    const usage = { prompt_tokens: 372, completion_tokens: 42, total_tokens: 414 };
    expect(billed('ollama-chat', { choices: [], usage }).usage).toEqual({ input: 372, output: 42 });
  });
});

describe('a reranking', () => {
  it.each([
    [
      'Cohere',
      { meta: { billed_units: { search_units: 3 } } },
      { search_units: 3 },
      { input: 0, 'tool:search_unit': 3 },
    ],
    ['Voyage', { usage: { total_tokens: 43 } }, { total_tokens: 43 }, { input: 43 }],
    ['OpenRouter', { usage: { total_tokens: 17, cost: 3e-7 } }, { total_tokens: 17, cost: 3e-7 }, { input: 17 }],
    [
      'OpenRouter, by searches',
      { usage: { search_units: 1, cost: 0.002 } },
      { search_units: 1, cost: 0.002 },
      { input: 0, 'tool:search_unit': 1 },
    ],
    [
      'one that splits tokens',
      { usage: { prompt_tokens: 9, total_tokens: 9 } },
      { input_tokens: 9, total_tokens: 9 },
      { input: 9 },
    ],
  ])('of %s', (_, body, says, usage) => {
    expect(whole('rerank', body).reported).toEqual(says);
    expect(billed('rerank', body).usage).toEqual({ ...usage, output: 0 });
  });
});
