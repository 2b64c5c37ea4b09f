/** What a request asks for beside text has a price at its model, or is refused by the field that asks; nothing is free by silence. */
import { describe, expect, it } from 'vitest';
import { readPrice, type WrittenPrice } from '../../../src/catalog/price.ts';
import { TollgateError } from '../../../src/errors.ts';
import { MOST_CALLS, refuseUnpriced, withUnreported } from '../../../src/metering/requests/asks.ts';
import { readChatRequest } from '../../../src/metering/requests/chat.ts';
import { REQUEST_FIELDS } from '../../../src/metering/requests/field-uses.ts';

const TEXT: WrittenPrice = { input: '1', output: '2' };

const parse = (fields: object) =>
  readChatRequest(Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...fields })));
const asked = (fields: object) => parse(fields).asks;

/** The field that refuses, and what it says; `null`: it is served. */
function refusal(fields: object, price: WrittenPrice = TEXT): { param: string | null; message: string } | null {
  try {
    refuseUnpriced(asked(fields), readPrice(price), 'm');
    return null;
  } catch (error) {
    if (error instanceof TollgateError) return { param: error.param, message: error.message };
    throw error;
  }
}

const tool = (type: string, more: object = {}) => ({ tools: [{ type: 'function' }, { type, ...more }] });
const sound = [{ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }];

const CASES: [name: string, fields: object, param: string, price: WrittenPrice][] = [
  ['a search', { web_search_options: {} }, 'web_search_options', { 'tool:web_search': '0.01' }],
  ['a search, in another way', { enable_search: true }, 'enable_search', { 'tool:web_search': '0.01' }],
  ['a search by a plugin', { plugins: [{ id: 'web', max_results: 3 }] }, 'plugins', { 'tool:web_search': '0.01' }],
  ['a search as a tool', tool('web_search'), 'tools', { 'tool:web_search': '0.01' }],
  ['a search as a tool with a version', tool('web_search_20250305'), 'tools', { 'tool:web_search': '0.01' }],
  ['a search as a preview', tool('web_search_preview_2025_03_11'), 'tools', { 'tool:web_search': '0.01' }],
  ['a search as a tool of a reseller', tool('reseller:web_search'), 'tools', { 'tool:web_search': '0' }],
  ['running code', tool('code_interpreter'), 'tools', { 'tool:code_interpreter': '0.03' }],
  ['sound in the answer', { modalities: ['text', 'audio'] }, 'modalities', { output_audio: '64' }],
  ['a voice', { audio: { voice: 'alloy', format: 'mp3' } }, 'audio', { output_audio: '64' }],
  ['pictures in the answer', { modalities: ['image', 'text'] }, 'modalities', { output_image: '30' }],
  ['sound in a message', { messages: [{ role: 'user', content: sound }] }, 'messages', { input_audio: '32' }],
  ['sound given before', { messages: [{ role: 'assistant', audio: { id: 'a' } }] }, 'messages', { input_audio: '32' }],
  ['a cheap tier', { service_tier: 'flex' }, 'service_tier', { service_tiers: { flex: '0.5' } }],
  ['a dear tier', { service_tier: 'priority' }, 'service_tier', { service_tiers: { priority: '2' } }],
  ['a tier by its other name', { service_tier: 'fast' }, 'service_tier', { service_tiers: { priority: '2' } }],
];

describe.each(CASES)('%s', (_, fields, param, price) => {
  it('is refused by name where the model has no price for it', () => {
    expect(refusal(fields)?.param).toBe(param);
    expect(refusal(fields)?.message).toContain('"m" has ');
  });

  it('is served where it has one', () => {
    expect(refusal(fields, { ...TEXT, ...price })).toBeNull();
  });
});

describe('a request is served without a price for more than text', () => {
  it.each([
    ['nothing asked for', {}],
    ['functions and custom tools', { tools: [{ type: 'function' }, { type: 'custom' }, { function: { name: 'f' } }] }],
    ['text', { modalities: ['text'] }],
    ['the plain tier', { service_tier: 'default' }],
    ['any tier', { service_tier: 'auto' }],
    ['no search', { enable_search: false, web_search_options: null, plugins: null, tools: [] }],
    ['a draft', { prediction: { type: 'content', content: 'x' } }],
  ])('%s', (_, fields) => {
    expect(refusal(fields)).toBeNull();
  });
});

describe('what nobody could price is refused whatever the price', () => {
  it.each([
    ['modalities', { modalities: ['video'] }],
    ['modalities', { modalities: 'audio' }],
    ['plugins', { plugins: [{ id: 'file-parser' }] }],
    ['audio.voice.id', { audio: { voice: { id: 'voice_1' }, format: 'mp3' } }],
    [
      'tools[1].vector_store_ids[0]',
      { tools: [{ type: 'web_search' }, { type: 'file_search', vector_store_ids: ['vs_1'] }] },
    ],
    ['tools', { tools: {} }],
    ['tools', { tools: ['web_search'] }],
    ['tools', { tools: [{ google_search: {} }] }],
    ['tools', { tools: [{ type: null }] }],
    ['tools', { tools: [{ type: '__proto__' }] }],
    ['tools', { tools: [{ type: 'x'.repeat(50) }] }],
    ['service_tier', { service_tier: 1 }],
    ['service_tier', { service_tier: 'x'.repeat(41) }],
    ...Object.keys(REQUEST_FIELDS.chat.refused).map((field): [string, object] => [field, { [field]: {} }]),
  ])('%s %o', (param, fields) => {
    expect(() => asked(fields)).toThrow(expect.objectContaining({ code: 'invalid_request', param }));
  });

  it('a tier that a price has by nature', () => {
    expect(refusal({ service_tier: 'constructor' })?.param).toBe('service_tier');
  });

  it('a tool whose type Node 26 misreads, because it is spelled with an escape', () => {
    const text = (key: string) =>
      `{"model":"m","messages":[{"content":"x"}],"tools":[{"function":{},"${key}":"web_search"}]}`;
    // What primes the fault: an object that has a lone backslash for its key in the same place.
    for (let i = 0; i < 3; i++) expect(() => readChatRequest(Buffer.from(text('\\\\')))).toThrow();
    expect(() => {
      refuseUnpriced(readChatRequest(Buffer.from(text('\\u0074ype'))).asks, readPrice(TEXT), 'm');
    }).toThrow(expect.objectContaining({ param: 'tools' }));
  });
});

describe('calls of a tool are bounded', () => {
  const most = (fields: object) => asked(fields).units.map((unit) => unit.most);

  it.each([
    ['by what is documented', tool('web_search'), [MOST_CALLS]],
    ['by what the request allows', tool('web_search', { max_uses: 3 }), [3]],
    ['never by more than is documented', tool('web_search', { max_uses: 1e9 }), [MOST_CALLS]],
    ['and no less for nonsense', tool('web_search', { max_uses: -1 }), [MOST_CALLS]],
    ['for each choice', { ...tool('web_search'), n: 2 }, [2 * MOST_CALLS]],
    ['for each tool', { tools: [{ type: 'web_search' }, { type: 'x_search' }] }, [MOST_CALLS, MOST_CALLS]],
  ])('%s', (_, fields, expected) => {
    expect(most(fields)).toEqual(expected);
  });
});

describe('a search that a model makes for every request', () => {
  const { asks } = parse({ web_search_options: {} });

  it('is charged once where the answer does not report it', () => {
    expect(withUnreported({ input: 1 }, asks)).toEqual({ input: 1, 'tool:web_search': 1 });
  });

  it('is charged as reported where it is, also as none', () => {
    expect(withUnreported({ 'tool:web_search': 3 }, asks)).toEqual({ 'tool:web_search': 3 });
    expect(withUnreported({ 'tool:web_search': 0 }, asks)).toEqual({ 'tool:web_search': 0 });
  });

  it('is not charged where the model decides', () => {
    expect(withUnreported({ input: 1 }, parse(tool('web_search')).asks)).toEqual({ input: 1 });
  });
});

describe('output that the answer does not show as text', () => {
  it.each([
    ['sound', { modalities: ['audio'] }, true],
    ['pictures', { modalities: ['image'] }, true],
    ['a draft', { prediction: { type: 'content', content: 'x' } }, true],
    ['searches', tool('web_search'), true],
    ['sound that is only heard', { messages: [{ role: 'user', content: sound }] }, false],
    ['text', {}, false],
    ['the tools of the client', { tools: [{ type: 'function' }] }, false],
  ])('%s', (_, fields, hides) => {
    expect(parse(fields).hidesOutput).toBe(hides);
  });
});
