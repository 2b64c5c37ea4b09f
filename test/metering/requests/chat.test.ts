/** What bears on cost is read once and the same by everybody, or refused by name; all else stays as it came. */
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../../../src/errors.ts';
import { readChatRequest } from '../../../src/metering/requests/chat.ts';

const MESSAGES = '"messages":[{"role":"user","content":"hi"}]';
const parse = (text: string | Buffer) => readChatRequest(Buffer.from(text));
const withField = (field: string) => `{"model":"m",${MESSAGES},${field}}`;

function refusal(text: string | Buffer): { code: string; param: string | null } {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof TollgateError) return { code: error.code, param: error.param };
    throw error;
  }
  throw new Error('was not refused');
}

describe('a body that is no JSON object is refused', () => {
  it.each([
    ['nothing', ''],
    ['broken', '{"model":'],
    ['null', 'null'],
    ['an array', '[]'],
    ['text', '"x"'],
    ['bytes after the value', `${withField('"n":1')} x`],
    ['two values', `${withField('"n":1')}{}`],
    ['invalid UTF-8', Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff]), Buffer.from(`",${MESSAGES}}`)])],
    ['a byte order mark', `\uFEFF${withField('"n":1')}`],
  ])('%s', (_, text) => {
    expect(refusal(text)).toEqual({ code: 'invalid_json', param: null });
  });
});

describe('a field that bears on cost is refused by name', () => {
  it.each([
    ['model missing', `{${MESSAGES}}`, 'model'],
    ['model no text', `{"model":1,${MESSAGES}}`, 'model'],
    ['model empty', `{"model":"",${MESSAGES}}`, 'model'],
    ['model too long', `{"model":"${'m'.repeat(201)}",${MESSAGES}}`, 'model'],
    ['messages missing', '{"model":"m"}', 'messages'],
    ['messages empty', '{"model":"m","messages":[]}', 'messages'],
    ['messages no array', '{"model":"m","messages":{}}', 'messages'],
    ...['0', '129', '1000000', '1.5', '"1"', '1e999', '-1'].map((n) => [`n ${n}`, withField(`"n":${n}`), 'n']),
    ...['0', '-1', '1.5', '"9"', '1e999', 'true', '[]'].flatMap((n) =>
      ['max_tokens', 'max_completion_tokens'].map((field) => [`${field} ${n}`, withField(`"${field}":${n}`), field]),
    ),
    ['stream "yes"', withField('"stream":"yes"'), 'stream'],
    ['stream 1', withField('"stream":1'), 'stream'],
    ['stream_options no object', withField('"stream_options":[]'), 'stream_options'],
    ['a tier that is no text', withField('"service_tier":1'), 'service_tier'],
    ['modalities no array', withField('"modalities":"audio"'), 'modalities'],
    ['a tool of no type', withField('"tools":[{}]'), 'tools'],
    ...['moderation', 'models', 'best_of'].map((field) => [field, withField(`"${field}":{}`), field]),
  ])('%s', (_, text, param) => {
    expect(refusal(text!)).toEqual({ code: 'invalid_request', param });
  });

  it.each([
    ['given twice', '"n":1,"n":2'],
    ['given twice, the same', '"n":1,"n":1'],
    ['given twice, once with an escape', '"n":1,"\\u006e":2'],
    ['given twice, in another case', '"n":1,"N":2'],
    ['in another case: some parsers ignore it', '"N":128'],
    ['spelled with an escape: some parsers misread it', '"\\u006e":128'],
  ])('%s', (_, fields) => {
    expect(refusal(withField(fields))).toEqual({ code: 'invalid_request', param: 'n' });
  });

  it('in letters that have the same capital', () => {
    expect(refusal(withField('"\u017Ftream":true'))).toEqual({ code: 'invalid_request', param: 'stream' });
  });

  it('and never repeats what was in it', () => {
    expect.assertions(2);
    for (const text of [withField('"n":"secret"'), '{"secret":']) {
      try {
        parse(text);
      } catch (error) {
        expect(String(error) + JSON.stringify((error as TollgateError).body())).not.toContain('secret');
      }
    }
  });
});

describe('a request', () => {
  it('without options has their defaults', () => {
    expect(parse(`{"model":"m",${MESSAGES}}`)).toMatchObject({
      model: 'm',
      stream: false,
      includeUsage: false,
      n: 1,
      outputLimit: null,
      mustBeWhole: false,
    });
  });

  it.each([
    ['null is not given', '"n":null,"stream":null,"max_tokens":null,"stream_options":null,"service_tier":null', {}],
    ['a stream', '"stream":true,"stream_options":{"include_usage":true}', { stream: true, includeUsage: true }],
    ['the larger limit bounds', '"max_tokens":5,"max_completion_tokens":9', { outputLimit: 9 }],
    ['a whole float is whole', '"max_tokens":5.0,"n":2e0', { outputLimit: 5, n: 2 }],
    ['structured output', '"response_format":{"type":"json_schema"}', { mustBeWhole: true }],
    ['text is not structured', '"response_format":{"type":"text"}', { mustBeWhole: false }],
    ['functions and custom tools', '"tools":[{"type":"function"},{"type":"custom"}]', {}],
    ['the default tier', '"service_tier":"auto","modalities":["text"]', {}],
    ['fields we do not know, twice', '"metadata":{"n":"x"},"x":1,"x":2,"X":3', {}],
  ])('%s', (_, fields, expected) => {
    expect(parse(withField(fields))).toMatchObject(expected);
  });

  it('says where its fields stand, in bytes', () => {
    const text = ` {"é":"ü" , "model" : "m\\"x", ${MESSAGES}, "max_tokens": 5 ,"max_completion_tokens":7,"stream_options": {"a":1} } `;
    const body = Buffer.from(text);
    const { spans, end, model } = readChatRequest(body);
    const at = (span: { start: number; end: number } | undefined) => body.toString('utf8', span?.start, span?.end);
    expect(model).toBe('m"x');
    expect(
      ['model', 'max_tokens', 'max_completion_tokens', 'stream_options'].map((field) => at(spans.get(field))),
    ).toEqual(['"m\\"x"', '5', '7', '{"a":1}']);
    expect(body.toString('utf8', end!)).toBe('} ');
  });
});

describe('the parts of messages', () => {
  const partsOf = (content: unknown, message: object = {}) =>
    parse(JSON.stringify({ model: 'm', messages: [{ role: 'user', content, ...message }] })).parts;
  const none = {
    ...{ pictures: [], sounds: 0, soundTokens: 0, given: 0, named: 0, unbounded: 0 },
    ...{ dataBytes: 0, likelyTokens: 0 },
  };
  const picture = { size: null, low: false };

  it('are counted by what bounds them, and estimated by what they are', () => {
    expect(partsOf('text')).toEqual(none);
    expect(
      partsOf([
        { type: 'text', text: 'a' },
        { type: 'refusal', refusal: 'b' },
      ]),
    ).toEqual(none);
    expect(partsOf([{ type: 'image_url', image_url: { url: 'https://x/y.png' } }])).toEqual({
      ...none,
      pictures: [picture],
      likelyTokens: 1000,
    });
    expect(partsOf([{ type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(100)}` } }])).toEqual({
      ...none,
      pictures: [picture],
      dataBytes: 122,
      likelyTokens: 1000,
    });
    expect(partsOf([{ type: 'input_audio', input_audio: { data: 'A'.repeat(4096), format: 'mp3' } }])).toEqual({
      ...none,
      sounds: 1,
      soundTokens: 128,
      dataBytes: 4096,
      likelyTokens: 2,
    });
    expect(partsOf([{ type: 'file', file: { file_data: 'A'.repeat(640) } }])).toEqual({
      ...none,
      unbounded: 1,
      dataBytes: 640,
      likelyTokens: 10,
    });
  });

  it.each([
    ['a kind we do not know', [{ type: 'video_url', video_url: {} }], {}],
    ['no object', ['text'], {}],
    ['sound that a model gave before', 'text', { audio: { id: 'audio_1' } }, 1],
  ])('%s is bounded by the context window alone', (_, content, message, sounds = 0) => {
    expect(partsOf(content, message)).toEqual({ ...none, sounds, unbounded: 1 });
  });

  it('are not missed where Node 26 misreads an escaped key', () => {
    const message = (key: string) => `{"model":"m","messages":[{"role":"user","${key}":[{"type":"file"}]}]}`;
    const part = (key: string) => `{"model":"m","messages":[{"role":"user","content":[{"x":1,"${key}":"file"}]}]}`;
    // What primes the fault: an object that has a lone backslash for its key in the same place.
    for (let i = 0; i < 3; i++) expect(parse(message('\\\\')).parts.unbounded).toBe(1);
    expect(parse(message('\\u0063ontent')).parts.unbounded).toBeGreaterThan(0);
    for (const key of ['\\\\', '\\\\', '\\\\']) expect(() => parse(part(key))).toThrow('without escapes');
    expect(parse(part('\\u0074ype')).parts.unbounded).toBeGreaterThan(0);
  });
});
