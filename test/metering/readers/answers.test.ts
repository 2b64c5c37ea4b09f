/** The answers of all other endpoints: what each reports, and what it is billed by. */
import { describe, expect, it } from 'vitest';
import { dialectOf } from '../../../src/metering/readers/index.ts';
import { billed, events, streamed, whole } from './rig.ts';

describe('a whole answer is billed', () => {
  it.each<[string, string, unknown, object, object]>([
    ['an embedding', 'embeddings', { usage: { prompt_tokens: 8, total_tokens: 8 } }, { input: 8, output: 0 }, {}],
    ['an embedding with a total alone', 'embeddings', { usage: { total_tokens: 8 } }, { input: 8, output: 0 }, {}],
    ['an embedding with its count at the top', 'embeddings', { prompt_eval_count: 9 }, { input: 9, output: 0 }, {}],
    [
      'a picture, by tokens told apart',
      'images',
      {
        data: [{ b64_json: 'x' }],
        usage: {
          input_tokens: 50,
          input_tokens_details: { text_tokens: 10, image_tokens: 40 },
          output_tokens: 272,
          output_tokens_details: { image_tokens: 260, text_tokens: 12 },
          total_tokens: 322,
        },
      },
      { input: 10, input_image: 40, output: 12, output_image: 260 },
      { image: 1 },
    ],
    [
      'a picture, by tokens without details',
      'images-edit',
      { data: [{}], usage: { input_tokens: 50, output_tokens: 272, total_tokens: 322 } },
      { input: 50, output: 0, output_image: 272 },
      { image: 1 },
    ],
    ['pictures as they are returned', 'images-var', { data: [{}, {}, {}] }, {}, { image: 3 }],
    [
      'a picture with its cost',
      'images',
      { data: [{}], usage: { cost_in_usd_ticks: 7e8 } },
      { input: 0, output: 0 },
      { image: 1 },
    ],
    [
      'a transcription by tokens',
      'transcriptions',
      {
        text: 'a',
        usage: {
          type: 'tokens',
          input_tokens: 14,
          input_token_details: { audio_tokens: 12, text_tokens: 2 },
          output_tokens: 45,
          total_tokens: 59,
        },
      },
      { input: 2, input_audio: 12, output: 45 },
      {},
    ],
    [
      'a transcription by seconds',
      'translations',
      { text: 'a', usage: { type: 'duration', seconds: 27 } },
      { input: 0, output: 0, second_input: 27 },
      {},
    ],
    ['a moderation: nothing', 'moderations', { results: [{}] }, {}, {}],
    ['a count of tokens: nothing', 'responses-input_tokens', { input_tokens: 4000 }, {}, {}],
    ['a count of tokens: nothing', 'count_tokens', { input_tokens: 4000, usage: { input_tokens: 4000 } }, {}, {}],
  ])('%s', (_, apiStyle, body, usage, beside) => {
    expect(billed(apiStyle, body)).toEqual({ usage, beside });
  });

  it('by the size, the quality and the service tier that it says', () => {
    const body = { data: [{}], size: '1024x1024', quality: 'high', service_tier: 'flex' };
    expect(whole('images', body).terms).toEqual({ imageSize: '1024x1024', imageQuality: 'high', serviceTier: 'flex' });
    expect(whole('embeddings', { ...body, usage: { prompt_tokens: 1 } }).terms).toEqual({ serviceTier: 'flex' });
  });

  it('and where nothing is to be estimated, its dialect says so', () => {
    expect(
      ['moderations', 'count_tokens', 'responses-input_tokens'].map((style) => dialectOf(style)?.unmetered),
    ).toEqual([true, true, true]);
    expect(dialectOf('embeddings')?.unmetered).toBeUndefined();
  });

  it('a transcription without usage has its text counted; sound cannot be read', () => {
    expect(whole('transcriptions', { text: 'Hello' })).toMatchObject({ reported: null, generatedText: ['Hello'] });
    expect(whole('speech', 'ID3\u0004')).toEqual({
      reported: null,
      terms: {},
      beside: {},
      generatedText: [],
      isError: false,
    });
  });
});

describe('a stream has its usage in its last event', () => {
  const usage = { input_tokens: 14, output_tokens: 45, total_tokens: 59 };

  it('of a transcription', () => {
    const text = events(
      { type: 'transcript.text.delta', delta: 'Hel' },
      { type: 'transcript.text.delta', delta: 'lo' },
      { type: 'transcript.text.done', text: 'Hello', usage: { type: 'tokens', ...usage } },
    );
    expect(streamed('transcriptions', `${text}data: [DONE]\n\n`)).toMatchObject({
      kinds: ['content', 'content', 'done', 'done'],
      reported: { ...usage, usage_type: 'tokens' },
      finished: true,
      text: 'Hello',
    });
  });

  it('of speech, billed as sound', () => {
    const text = events({ type: 'speech.audio.delta', audio: 'AAAA' }, { type: 'speech.audio.done', usage });
    const { kinds, reported } = streamed('speech', text);
    expect(kinds).toEqual(['content', 'done']);
    expect(dialectOf('speech')!.normalise(reported!)).toEqual({ input: 14, output: 0, output_audio: 45 });
  });

  it('of a picture; parts of it are no pictures', () => {
    const picture = { b64_json: 'x', size: '1024x1024', quality: 'low' };
    const text = events(
      { type: 'image_generation.partial_image', ...picture },
      { type: 'image_generation.completed', ...picture, usage },
    );
    expect(streamed('images', text)).toMatchObject({
      kinds: ['content', 'done'],
      reported: usage,
      beside: { image: 1 },
      terms: { imageSize: '1024x1024', imageQuality: 'low' },
    });
  });

  it('or an error instead', () => {
    expect(streamed('images', events({ type: 'error', error: { message: 'no' } })).kinds).toEqual(['error']);
  });

  it('however large its frames', () => {
    const text = events({ type: 'image_generation.completed', b64_json: 'x'.repeat(10_000_000), usage });
    expect(streamed('images', text)).toMatchObject({ reported: usage, beside: { image: 1 } });
  });
});
