/** Usage is found wherever a provider puts it, however the network cuts the stream; what is missing can be counted. */
import { describe, expect, it } from 'vitest';
import { FrameSplitter } from '../../../src/lib/sse.ts';
import { ChatStreamReader, mostTokens, readChatJson } from '../../../src/metering/readers/chat.ts';
import type { FrameKind } from '../../../src/metering/readers/types.ts';
import { type Chunk, content, DONE, finish, reported, sse, usage } from './chat-rig.ts';

/** Reads a stream as the relay does, and says of each byte of it what frame it was in. */
function read(text: string, cuts: readonly number[] = []) {
  const reader = new ChatStreamReader();
  const splitter = new FrameSplitter(1 << 20);
  const bytes = Buffer.from(text);
  const kinds: FrameKind[] = [];
  const edges = [0, ...cuts, bytes.length];
  for (let i = 1; i < edges.length; i++) {
    const chunk = bytes.subarray(edges[i - 1], edges[i]);
    const plain = splitter.atBoundary ? reader.content(chunk) : 0;
    for (const _ of chunk.toString('latin1', 0, plain).matchAll(/\n\n/g)) kinds.push('content');
    splitter.push(chunk.subarray(plain), (frame) => kinds.push(reader.frame(frame)));
  }
  if (splitter.rest().length > 0) splitter.push(Buffer.from('\n\n'), (frame) => kinds.push(reader.frame(frame)));
  return { kinds, usage: reader.usage(), finished: reader.finished, text: reader.generatedText().join('') };
}

interface Stream {
  name: string;
  text: string;
  kinds: FrameKind[];
  usage: typeof reported | null;
  finished?: boolean;
}

const STREAMS: Stream[] = [
  {
    name: 'in a chunk of its own, after null in all others',
    text: sse([
      content('a', { usage: null }),
      content('b', { usage: null }),
      finish({ usage: null }),
      { choices: [], usage },
      DONE,
    ]),
    kinds: ['content', 'content', 'content', 'usage-only', 'done'],
    usage: reported,
  },
  {
    name: 'on the chunk that finishes',
    text: sse([content('ab'), finish({ usage }), DONE]),
    kinds: ['content', 'content', 'done'],
    usage: reported,
  },
  {
    name: 'on every chunk: the last stands',
    text: sse([
      content('a', { usage: { prompt_tokens: 14, completion_tokens: 1, total_tokens: 15 } }),
      content('b', { usage: { prompt_tokens: 13, completion_tokens: 2, total_tokens: 15 } }),
      finish({ usage }),
    ]),
    kinds: ['content', 'content', 'content'],
    usage: reported,
  },
  {
    name: 'in an object of the provider',
    text: sse([content('ab'), finish({ x_groq: { id: 'req_1', usage } }), DONE]),
    kinds: ['content', 'content', 'done'],
    usage: reported,
  },
  {
    name: 'three times the same: once counted',
    text: sse([content('ab'), finish({ x_groq: { usage }, usage }), { choices: [], usage }, DONE]),
    kinds: ['content', 'content', 'usage-only', 'done'],
    usage: reported,
  },
  {
    name: 'inside the choice',
    text: sse([content('ab'), { choices: [{ index: 0, delta: {}, finish_reason: 'stop', usage }] }, DONE]),
    kinds: ['content', 'content', 'done'],
    usage: reported,
  },
  {
    name: 'with an empty choice, after the one that finished',
    text: sse([
      content('ab'),
      finish(),
      { choices: [{ index: 0, delta: { content: '' }, finish_reason: null }], usage },
      DONE,
    ]),
    kinds: ['content', 'content', 'content', 'done'],
    usage: reported,
  },
  {
    name: 'beside what else a provider sends without a choice, which is passed on',
    text: sse([
      { choices: [], prompt_filter_results: [{}] },
      content('ab'),
      finish(),
      { choices: [], usage, moderation: {} },
      DONE,
    ]),
    kinds: ['content', 'content', 'content', 'content', 'done'],
    usage: reported,
  },
  {
    name: 'nowhere',
    text: sse([content('a'), content('b'), finish(), DONE]),
    kinds: ['content', 'content', 'content', 'done'],
    usage: null,
  },
  {
    name: 'null in the chunk of its own',
    text: sse([content('ab'), finish(), { choices: [], usage: null }, DONE]),
    kinds: ['content', 'content', 'content', 'done'],
    usage: null,
  },
  {
    name: 'in lines that end with CRLF, between comments, without a space, without [DONE]',
    text: `: PROCESSING\r\n\r\n${sse([content('ab'), finish()], '\r\n').replaceAll('data: ', 'data:')}${sse([{ choices: [], usage }], '\r\n')}`,
    kinds: ['content', 'content', 'content', 'usage-only'],
    usage: reported,
  },
  {
    name: 'in data of several lines',
    text: sse([
      content('ab'),
      finish(),
      JSON.stringify({ choices: [], usage }, null, 1).replaceAll(/^/gm, 'data: '),
      'event: end\nid: 7\ndata: [DONE]',
    ]),
    kinds: ['content', 'content', 'usage-only', 'done'],
    usage: reported,
  },
  {
    name: 'before an error, which is recognised',
    text: sse([content('ab', { usage }), { error: { message: 'overloaded', code: 503 } }]),
    kinds: ['content', 'error'],
    usage: reported,
    finished: false,
  },
  {
    name: 'nowhere but in the text of the model, which is text',
    text: sse([
      content('"usage":{"prompt_tokens":1}, "error":{}, [DONE] '),
      content('ab', { error: null }),
      finish(),
      DONE,
    ]),
    kinds: ['content', 'content', 'content', 'done'],
    usage: null,
  },
];

describe('usage of a stream is found', () => {
  it.each(STREAMS)('$name', ({ text, kinds, usage, finished }) => {
    expect(read(text)).toMatchObject({ kinds, usage, finished: finished ?? true });
  });

  it.each(STREAMS)('$name, cut at any byte', ({ text }) => {
    const whole = read(text);
    for (let cut = 1; cut < Buffer.byteLength(text); cut++) expect(read(text, [cut])).toEqual(whole);
  });
});

describe('a stream that is cut short', () => {
  it.each([
    ['before any end', [content('a')], false],
    ['after the end, before usage', [content('a'), finish()], true],
    ['when the end is a number', [content('a'), { choices: [{ delta: {}, finish_reason: 1 }] }], true],
    [
      'while the second choice goes on',
      [content('a'), finish(), { choices: [{ index: 1, delta: { content: 'b' }, finish_reason: null }] }],
      false,
    ],
  ])('%s', (_, chunks, finished) => {
    expect(read(sse(chunks as Chunk[])).finished).toBe(finished);
  });

  it('in the middle of a frame: what came whole is counted', () => {
    const text = sse([content('whole'), content('half')]);
    expect(read(text.slice(0, -20))).toMatchObject({ text: 'whole', finished: false, usage: null });
  });
});

describe('a frame is no more tokens', () => {
  const most = (delta: object): number => mostTokens(Buffer.from(sse([{ choices: [{ delta }] }])));
  const call = (index: number, more: object) => ({ index, ...more });

  it.each<[string, object, number]>([
    ['than it has bytes of text', { content: 'né😀' }, 7],
    ['than a field that is not known has', { sound: 'abc' }, 5],
    ['than what is around a call that begins', { tool_calls: [call(0, { id: 'a', function: { name: 'f' } })] }, 17],
    ['for what goes on with a call', { tool_calls: [call(0, { function: { arguments: '{}' } })] }, 2],
    [
      'than several calls at once',
      { tool_calls: [0, 1, 2].map((i) => call(i, { id: `${i}`, function: { name: 'f', arguments: '{}' } })) },
      57,
    ],
  ])('%s', (_name, delta, tokens) => {
    expect(most(delta)).toBe(tokens);
  });
});

describe('what a model wrote is kept for counting', () => {
  it.each<[string, Chunk, string]>([
    ['text', { content: 'a' }, 'a'],
    ['a refusal', { refusal: 'no' }, 'no'],
    ['visible reasoning', { reasoning_content: 'hm' }, 'hm'],
    ['reasoning by its other name', { reasoning: 'hm' }, 'hm'],
    [
      'calls of tools',
      { tool_calls: [{ function: { name: 'f', arguments: '{"x":' } }, { function: { arguments: '1}' } }] },
      'f{"x":1}',
    ],
    ['calls of tools of the client', { tool_calls: [{ custom: { name: 'f', input: 'x' } }] }, 'fx'],
    ['a call of the old kind', { function_call: { name: 'f', arguments: '{}' } }, 'f{}'],
    [
      'parts',
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
          { type: 'text', text: 'a' },
        ],
      },
      'hma',
    ],
    ['nothing', { role: 'assistant', content: null }, ''],
  ])('%s', (_, message, text) => {
    expect(read(sse([{ choices: [{ delta: message }] }])).text).toBe(text);
    expect(readChatJson(Buffer.from(JSON.stringify({ choices: [{ message }] }))).generatedText.join('')).toBe(text);
  });

  it('of the older completions', () => {
    const body = { choices: [{ index: 0, text: 'a', finish_reason: null }] };
    expect(read(sse([body])).text).toBe('a');
    expect(readChatJson(Buffer.from(JSON.stringify(body))).generatedText).toEqual(['a']);
  });

  it('of every choice', () => {
    const choices = ['a', 'b'].map((text, index) => ({ index, message: { content: text } }));
    expect(readChatJson(Buffer.from(JSON.stringify({ choices }))).generatedText).toEqual(['a', 'b']);
  });

  it('however long the stream is, with a bounded memory of its frames', () => {
    const reader = new ChatStreamReader();
    const frame = Buffer.from(sse([content('word ', { obfuscation: 'x'.repeat(500) })]));
    for (let i = 0; i < 2000; i++) reader.content(frame);
    expect(reader.generatedText().join('')).toBe('word '.repeat(2000));
    expect(reader.outputEstimate()).toBe(Math.ceil((2000 * 5) / 4));
  });

  it('and its tokens are estimated: one a piece, or by length where pieces are long', () => {
    const estimate = (pieces: string[]): number => {
      const reader = new ChatStreamReader();
      reader.content(Buffer.from(sse([': comment', ...pieces.map((piece) => content(piece))])));
      return reader.outputEstimate();
    };
    expect(estimate([])).toBe(0);
    expect(estimate(['a', 'b', 'c'])).toBe(3);
    expect(estimate(['x'.repeat(4000)])).toBe(1000);
  });
});
