/** Streams of the chat completions dialect, written for the tests. */
export type Chunk = Record<string, unknown>;

export const usage = { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 };
export const reported = { input_tokens: 12, output_tokens: 3, total_tokens: 15 };

export const content = (text: string, more: Chunk = {}): Chunk => ({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  choices: [{ index: 0, delta: { content: text }, finish_reason: null }],
  ...more,
});
export const finish = (more: Chunk = {}): Chunk => ({
  choices: [{ index: 0, delta: {}, finish_reason: 'stop' }],
  ...more,
});
export const sse = (chunks: readonly (Chunk | string)[], end = '\n'): string =>
  chunks
    .map((chunk) => (typeof chunk === 'string' ? chunk : `data: ${JSON.stringify(chunk)}`))
    .map((frame) => frame + end + end)
    .join('');
export const DONE = 'data: [DONE]';
