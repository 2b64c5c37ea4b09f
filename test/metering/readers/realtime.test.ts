/** A realtime session is the sum of what its responses and transcriptions report, each for itself. */
import { describe, expect, it } from 'vitest';
import { dialectOf } from '../../../src/metering/readers/index.ts';
import { streamed, whole } from './rig.ts';

const read = (...lines: unknown[]) =>
  streamed('ws', `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`, 'json-lines');
const billed = (...lines: unknown[]) => dialectOf('ws')!.normalise(read(...lines).reported!);

const response = {
  total_tokens: 30,
  input_tokens: 20,
  output_tokens: 10,
  input_token_details: {
    text_tokens: 5,
    audio_tokens: 15,
    cached_tokens: 12,
    cached_tokens_details: { text_tokens: 2, audio_tokens: 10 },
  },
  output_token_details: { text_tokens: 4, audio_tokens: 6 },
};
const done = { type: 'response.done', response: { usage: response } };
const heard = (usage: unknown) => ({ type: 'conversation.item.input_audio_transcription.completed', usage });

describe('a session', () => {
  it('has an entry for each report, in order, and the sum for a bill', () => {
    const { reported } = read(
      done,
      heard({ type: 'tokens', input_tokens: 7, output_tokens: 2, total_tokens: 9 }),
      done,
    );
    expect(reported?.responses).toHaveLength(2);
    expect(reported?.transcriptions).toEqual([
      { input_tokens: 7, output_tokens: 2, total_tokens: 9, usage_type: 'tokens' },
    ]);
    expect(dialectOf('ws')!.normalise(reported!)).toEqual({
      input: 13,
      cached_input: 4,
      cached_input_audio: 20,
      input_audio: 10,
      output: 10,
      output_audio: 12,
    });
  });

  it('is billed by seconds where a transcription is', () => {
    expect(billed(heard({ type: 'duration', seconds: 2.5 }))).toMatchObject({ second_input: 2.5 });
  });

  it('may have its usage beside the response, or under names of its own', () => {
    expect(billed({ type: 'response.done', response: {}, usage: response })).toMatchObject({ input: 3 });
    const usageMetadata = { promptTokenCount: 9, responseTokenCount: 4, thoughtsTokenCount: 3, totalTokenCount: 16 };
    expect(billed({ serverContent: {}, usageMetadata })).toEqual({ input: 9, output: 4, reasoning: 3 });
  });

  it('is read from a capture of both directions, of which what was sent is no report', () => {
    const { reported } = read({ dir: 'sent', event: done }, { dir: 'received', event: done });
    expect(reported?.responses).toHaveLength(1);
  });

  it('without a report has its text counted, not its sound', () => {
    const delta = (type: string, text: string) => ({ type: `response.${type}.delta`, delta: text });
    const session = read(
      delta('output_audio_transcript', 'Hel'),
      delta('output_audio', 'AAAA'),
      delta('audio', 'AAAA'),
      delta('output_text', 'lo'),
      { type: 'conversation.item.input_audio_transcription.delta', delta: 'heard' },
      { type: 'error', error: { message: 'one event was wrong' } },
    );
    expect(session).toMatchObject({ reported: null, text: 'Hello' });
    expect(new Set(session.kinds)).toEqual(new Set(['content']));
  });

  it('however long: reports beyond ten thousand are added to the last', () => {
    const usage = { input_tokens: 1, output_tokens: 2, total_tokens: 3 };
    const lines = Array.from({ length: 10_005 }, () => ({ type: 'response.done', response: { usage } }));
    const { reported } = read(...lines);
    expect(reported?.responses).toHaveLength(10_000);
    expect(dialectOf('ws')!.normalise(reported!)).toEqual({ input: 10_005, output: 20_010 });
  });

  it('that was refused has no usage', () => {
    expect(whole('ws', { error: { message: 'no' } })).toMatchObject({ reported: null, isError: true });
  });
});
