/** Gemini: thoughts and prompts of tools beside, modalities apart, the last report stands, in events and in one array. */
import { describe, expect, it } from 'vitest';
import { billed, streamed, whole } from './rig.ts';

const usageMetadata = {
  promptTokenCount: 1000,
  cachedContentTokenCount: 600,
  candidatesTokenCount: 80,
  thoughtsTokenCount: 20,
  toolUsePromptTokenCount: 5,
  totalTokenCount: 1105,
  promptTokensDetails: [
    { modality: 'TEXT', tokenCount: 300 },
    { modality: 'AUDIO', tokenCount: 400 },
    { modality: 'IMAGE', tokenCount: 200 },
    { modality: 'VIDEO', tokenCount: 100 },
  ],
  cacheTokensDetails: [
    { modality: 'AUDIO', tokenCount: 250 },
    { modality: 'IMAGE', tokenCount: 150 },
    { modality: 'VIDEO', tokenCount: 100 },
  ],
  candidatesTokensDetails: [
    { modality: 'IMAGE', tokenCount: 50 },
    { modality: 'AUDIO', tokenCount: 10 },
  ],
  serviceTier: 'flex',
};
const usage = {
  input: 1005 - 600 - 150 - 50,
  cached_input: 200,
  cached_input_audio: 250,
  cached_input_image: 150,
  input_audio: 150,
  input_image: 50,
  output: 20,
  reasoning: 20,
  output_audio: 10,
  output_image: 50,
};
const chunk = (text: string, more = {}) => ({ candidates: [{ content: { parts: [{ text }] } }], ...more });
const last = { candidates: [{ finishReason: 'STOP' }], usageMetadata: { promptTokenCount: 14, totalTokenCount: 14 } };

function sse(...list: unknown[]): string {
  return list.map((one) => `data: ${JSON.stringify(one)}\r\n\r\n`).join('');
}

describe('an answer of Gemini', () => {
  it('is billed by dimensions that add up to its total', () => {
    expect(billed('gemini-gen', { usageMetadata })).toEqual({ usage, beside: {} });
    expect(Object.values(usage).reduce((sum, tokens) => sum + tokens)).toBe(1105);
    const { totalTokenCount: _, ...untold } = usageMetadata;
    expect(billed('gemini-gen', { usageMetadata: untold }).usage).toEqual(usage);
  });

  it('has modalities by their numbers too, and a service tier under either name', () => {
    const details = [
      { modality: 4, tokenCount: 3 },
      { modality: 1, tokenCount: 2 },
    ];
    const numbered = { promptTokenCount: 5, promptTokensDetails: details, trafficType: 'ON_DEMAND_PRIORITY' };
    expect(billed('gemini-gen', { usageMetadata: numbered }).usage).toEqual({ input: 2, input_audio: 3, output: 0 });
    expect(whole('gemini-gen', { usageMetadata: numbered }).terms).toEqual({ serviceTier: 'ON_DEMAND_PRIORITY' });
    expect(whole('gemini-gen', { usageMetadata }).terms).toEqual({ serviceTier: 'flex' });
    expect(whole('gemini-gen', { usageMetadata: { trafficType: 1 } })).toMatchObject({ reported: null, terms: {} });
  });

  it('may begin with a byte order mark', () => {
    expect(whole('gemini-gen', `\uFEFF${JSON.stringify({ usageMetadata })}`).reported).toMatchObject({
      input_tokens: 1000,
    });
  });

  it.each([
    ['gemini-2.5-flash', 1],
    ['models/gemini-1.5-pro', 1],
    ['gemini-3-flash-preview', 2],
  ])('of %s is charged %i searches of two, and none that asked for nothing', (modelVersion, searches) => {
    const grounded = (webSearchQueries: string[]) => ({
      modelVersion,
      candidates: [{ groundingMetadata: { webSearchQueries } }],
    });
    expect(billed('gemini-gen', grounded(['', 'a', 'b'])).beside).toEqual({ 'tool:web_search': searches });
    expect(billed('gemini-gen', grounded([''])).beside).toEqual({});
    const chunks = sse(grounded(['a', 'b']), chunk('x'));
    expect(streamed('gemini-stream', chunks).beside).toEqual({ 'tool:web_search': searches });
  });

  it('without usage has its text, code and calls counted', () => {
    const parts = [
      { text: 'Hi' },
      { executableCode: { code: 'f()' } },
      { functionCall: { name: 'go', args: { a: 1 } } },
    ];
    expect(whole('gemini-gen', { candidates: [{ content: { parts } }] }).generatedText).toEqual([
      'Hi',
      'f()',
      'go{"a":1}',
    ]);
  });
});

describe('a stream of Gemini', () => {
  const first = chunk('Hel', {
    usageMetadata: { promptTokenCount: 15, candidatesTokenCount: 9, thoughtsTokenCount: 3 },
  });
  const bare = chunk('lo', { usageMetadata: { trafficType: 'ON_DEMAND' } });

  it('reports what it said last, whole, also where that is less', () => {
    const read = streamed('gemini-stream', sse(first, bare, last));
    expect(read).toMatchObject({ kinds: ['content', 'content', 'content'], finished: true, text: 'Hello' });
    expect(read.reported).toEqual({ input_tokens: 14, total_tokens: 14 });
    expect(streamed('gemini-stream', sse(first, bare))).toMatchObject({
      finished: false,
      reported: { input_tokens: 15 },
    });
  });

  it('is the same as one JSON array, which ends with its bracket', () => {
    const array = JSON.stringify([first, bare, last], null, 2);
    const { kinds, ...read } = streamed('gemini-stream', array, 'json-array');
    const { kinds: _, ...same } = streamed('gemini-stream', sse(first, bare, last));
    expect(read).toEqual(same);
    expect(kinds).toEqual(['content', 'content', 'content', 'done']);
  });

  it('that fails in its middle is an error', () => {
    expect(streamed('gemini-stream', sse(first, { error: { code: 503 } })).kinds).toEqual(['content', 'error']);
  });
});

describe('an interaction', () => {
  const counts = {
    total_tokens: 100,
    total_input_tokens: 50,
    total_cached_tokens: 10,
    total_output_tokens: 20,
    total_thought_tokens: 25,
    total_tool_use_tokens: 5,
    input_tokens_by_modality: [{ modality: 'audio', tokens: 30 }],
  };
  const search = { type: 'google_search_call', arguments: { queries: ['a', 'b'] } };
  const interaction = { model: 'gemini-3-pro', usage: counts, service_tier: 'standard' };

  it('is billed by dimensions that add up to its total, and for its searches', () => {
    const answer = billed('gemini-interactions', { ...interaction, steps: [search] });
    const dimensions = { input: 15, cached_input: 10, input_audio: 30, output: 20, reasoning: 25 };
    expect(answer).toEqual({ usage: dimensions, beside: { 'tool:web_search': 2 } });
    expect(Object.values(dimensions).reduce((sum, tokens) => sum + tokens)).toBe(100);
  });

  it('that is streamed has its usage in its last event', () => {
    const created = { event_type: 'interaction.created', interaction: { model: 'gemini-3-pro' } };
    const delta = { event_type: 'step.delta', delta: { type: 'text', text: 'Hi' } };
    const found = { event_type: 'step.delta', delta: search };
    const completed = { event_type: 'interaction.completed', interaction };
    expect(streamed('gemini-interactions', sse(created, delta, found, completed))).toMatchObject({
      kinds: ['content', 'content', 'content', 'done'],
      reported: { input_tokens: 50, output_tokens: 20, audio_input_tokens: 30 },
      terms: { serviceTier: 'standard' },
      beside: { 'tool:web_search': 2 },
      finished: true,
    });
    const older = { event_type: 'interaction.created', interaction: { model: 'gemini-2.5-flash' } };
    expect(streamed('gemini-interactions', sse(older, found)).beside).toEqual({ 'tool:web_search': 1 });
    expect(streamed('gemini-interactions', sse(created, delta))).toMatchObject({
      reported: null,
      finished: false,
      text: 'Hi',
    });
    expect(streamed('gemini-interactions', sse(created, { event_type: 'error', error: {} })).kinds[1]).toBe('error');
  });
});
