/** A reading that is wrong is told apart from one that is right, whatever is wrong with it. */
import { describe, expect, it } from 'vitest';
import type { Usage } from '../../src/catalog/units.ts';
import { ChatStreamReader, chat } from '../../src/metering/readers/chat.ts';
import type { Dialect } from '../../src/metering/readers/types.ts';
import { type Recording, verifyRecording } from '../../src/metering/recordings.ts';

const usage = { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 };
const expected_usage = { input_tokens: 12, output_tokens: 3, total_tokens: 15 };
const stream = [
  { choices: [{ index: 0, delta: { content: 'ab' }, finish_reason: null }] },
  { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
  { choices: [], usage, service_tier: 'flex' },
]
  .map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`)
  .join('');

const row: Recording = {
  file: 'a',
  api_style: 'chat',
  streaming: true,
  http_status: null,
  content_type: 'text/event-stream; charset=utf-8',
  response_headers: {},
  expected_usage,
};

/** Cuts at a place that moves by a fixed step. */
function verify(changes: Partial<Recording>, body: string, dialect?: Dialect) {
  let at = 0;
  const random = () => {
    at = (at + 0.137) % 1;
    return at;
  };
  return verifyRecording({ ...row, ...changes }, Buffer.from(body), { count: 50, random }, dialect);
}

describe('a recording is', () => {
  it.each<[string, Partial<Recording>, string]>([
    ['a stream', {}, stream],
    ['a stream with CRLF, whose last frame has no end', {}, stream.replaceAll('\n', '\r\n').slice(0, -4)],
    ['a stream that came as JSON', { content_type: 'application/json' }, stream],
    ['a whole answer', { streaming: false, content_type: 'application/json' }, JSON.stringify({ choices: [], usage })],
    ['a refusal of a stream', { http_status: 429, expected_usage: null }, JSON.stringify({ error: { message: 'no' } })],
    ['an answer without usage', { expected_usage: null }, 'data: [DONE]\n\n'],
  ])('exact: %s', (_, changes, body) => {
    expect(verify(changes, body)).toMatchObject({ result: 'exact', problems: [] });
  });

  it.each<[string, Partial<Recording>, string]>([
    ['a count is another', { expected_usage: { ...expected_usage, output_tokens: 4 } }, 'read {"input_tokens":12'],
    ['a name is missing', { expected_usage: { ...expected_usage, reasoning_tokens: 0 } }, 'expected {'],
    ['nothing was expected', { expected_usage: null }, 'expected null'],
  ])('a mismatch where %s', (_, changes, problem) => {
    const { result, problems } = verify(changes, stream);
    expect(result).toBe('mismatch');
    expect(problems.join('\n')).toContain(problem);
  });

  it.each<[string, Usage, string]>([
    [
      'counts a token twice',
      { input: 12, cached_input: 2, output: 3 },
      '17 tokens are billed, and at most 15 reported',
    ],
    ['bills a part of a token', { input: 1.5 }, 'input is 1.5'],
    ['bills less than nothing', { output: -1 }, 'output is -1'],
    ['bills no number', { output: Number.NaN }, 'output is NaN'],
  ])('a mismatch where its normalised usage %s', (_, usage, problem) => {
    const { result, problems } = verify({}, stream, { ...chat, normalise: () => usage });
    expect(result).toBe('mismatch');
    expect(problems.join('\n')).toContain(problem);
  });

  it('a mismatch where it is read otherwise when it is cut elsewhere', () => {
    class Forgetful extends ChatStreamReader {
      pieces = 0;
      override content(chunk: Buffer): number {
        this.pieces++;
        return super.content(chunk);
      }
      override usage() {
        return this.pieces > 1 ? null : super.usage();
      }
    }
    const { result, problems } = verify({}, stream, { ...chat, stream: () => new Forgetful() });
    expect(result).toBe('mismatch');
    expect(problems.join('\n')).toMatch(/^split \d+ of 50 read \{"reported":null/);
  });

  it('unsupported where its dialect is not spoken', () => {
    expect(verify({ api_style: 'telex' }, stream)).toMatchObject({ result: 'unsupported', problems: [] });
  });
});
