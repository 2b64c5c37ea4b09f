/** What the gateway reads of a Responses request: what is refused, by its field, and what bounds its input. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readPrice } from '../../../src/catalog/price.ts';
import { TollgateError } from '../../../src/errors.ts';
import { inputBound } from '../../../src/metering/bounds.ts';
import { costFieldsOf, REQUEST_FIELDS } from '../../../src/metering/requests/field-uses.ts';
import {
  compactRequests,
  inputTokensRequests,
  readResponsesRequest,
} from '../../../src/metering/requests/responses.ts';

const read = (request: object) => readResponsesRequest(bodyOf(request));
const bodyOf = (request: object) => Buffer.from(JSON.stringify({ model: 'm', input: 'hi', ...request }));

const model = {
  routes: [{ provider: 'p', model: 'gpt-4o-mini' }],
  maxOutputTokens: 1000,
  contextWindow: 128_000,
  price: readPrice({ input: '1', output: '2' }),
};

function bound(request: object): { tokens: number; bytes: number; data: number } {
  const body = bodyOf(request);
  const parsed = readResponsesRequest(body);
  return { tokens: inputBound(parsed, model), bytes: body.length, data: parsed.parts.dataBytes };
}

describe('a request is refused by its field', () => {
  it.each<[string, object]>([
    ['model', { model: '' }],
    ['model', { model: null }],
    ['input', { input: 5 }],
    ['input', { input: { role: 'user' } }],
    ['stream', { stream: 'yes' }],
    ['background', { background: 'no' }],
    ['max_output_tokens', { max_output_tokens: 0 }],
    ['max_output_tokens', { max_output_tokens: 1.5 }],
    ['max_output_tokens', { max_output_tokens: '9' }],
    ['max_tool_calls', { max_tool_calls: -1 }],
    ['service_tier', { service_tier: 5 }],
    ['tools', { tools: {} }],
    ['tools', { tools: ['web_search'] }],
    ['tools', { tools: [{}] }],
    ['tools', { tools: [{ type: 'namespace', tools: [{ type: 'namespace', tools: [] }] }] }],
    ['tools', { tools: [{ type: 'namespace' }] }],
    ['tools', { tools: [{ type: 'image_generation' }, { type: 'image_generation' }] }],
    ['tools', { tools: [{ type: 'image_generation', model: 5 }] }],
    ['tools', { input: [{ type: 'additional_tools' }] }],
    ...Object.keys(REQUEST_FIELDS.responses.refused).map((field): [string, object] => [field, { [field]: true }]),
  ])('%s: %j', (param, request) => {
    expect(() => read(request)).toThrow(expect.objectContaining({ code: 'invalid_request', param }));
  });

  it.each([...costFieldsOf('responses')])('given twice: %s', (field) => {
    const body = Buffer.from(`{"model":"m","input":"x","${field}":null,"${field}":null}`);
    expect(() => readResponsesRequest(body)).toThrow(
      expect.objectContaining({ code: 'invalid_request', param: field }),
    );
  });

  it('and never breaks, whatever JSON it is', () => {
    const value = fc.jsonValue({ maxDepth: 5 });
    const items = fc.array(fc.dictionary(fc.constantFrom('type', 'role', 'content', 'output', 'tools', 'id'), value));
    const request = fc.record({
      model: fc.constant('m'),
      input: fc.oneof(items, value),
      tools: fc.oneof(items, value),
    });
    fc.assert(
      fc.property(request, (json) => {
        for (const { read } of [{ read: readResponsesRequest }, compactRequests, inputTokensRequests]) {
          try {
            const { reads, n } = read(Buffer.from(JSON.stringify(json)));
            expect(Number.isSafeInteger(reads) && reads > 0 && n <= 1).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(TollgateError);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('fields that clients send and that mean nothing here', () => {
  it.each<object>([
    { background: false },
    { background: null },
    { moderation: null },
    { tools: null },
    { instructions: null },
    { max_tool_calls: 0 },
    { include: ['reasoning.encrypted_content'], prompt_cache_key: 'k', store: false },
    { stream_options: { include_obfuscation: false } },
  ])('pass: %j', (request) => {
    expect(read(request)).toMatchObject({ model: 'm', reads: 1, n: 1, asks: { units: [] } });
  });
});

describe('the input is bounded', () => {
  const message = (...content: object[]) => ({ input: [{ role: 'user', content }] });

  it.each<[string, object]>([
    ['a text', {}],
    ['instructions', { instructions: 'Be kind' }],
    ['messages', message({ type: 'input_text', text: 'a' })],
    ['an answer', { input: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'a' }] }] }],
    [
      'a call, and its output',
      {
        input: [
          { type: 'function_call', arguments: '{}' },
          { type: 'function_call_output', output: 'x' },
        ],
      },
    ],
    ['an output of parts', { input: [{ type: 'function_call_output', output: [{ type: 'input_text', text: 'x' }] }] }],
    ['thoughts that are sent along', { input: [{ type: 'reasoning', summary: [], encrypted_content: 'gAAA' }] }],
    [
      'a list of the tools of a server',
      { input: [{ type: 'mcp_list_tools', tools: [{ name: 't', input_schema: {} }] }] },
    ],
  ])('by its bytes: %s', (_, request) => {
    const { tokens, bytes } = bound(request);
    expect(tokens).toBe(bytes);
  });

  it.each<[string, object]>([
    ['a file', message({ type: 'input_file', filename: 'a.pdf', file_data: 'AAAA' })],
    ['a file elsewhere', message({ type: 'input_file', file_url: 'https://example.com/a.pdf' })],
    ['a part nobody knows', message({ type: 'hologram' })],
    ['an item nobody knows', { input: [{ type: 'hologram' }] }],
    ['a reference', { input: [{ type: 'item_reference', id: 'msg_1' }] }],
    ['a reference that does not say so', { input: [{ id: 'msg_1' }] }],
    ['thoughts that are stored', { input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] }],
    ['what was searched', { input: [{ type: 'web_search_call', id: 'ws_1' }] }],
    ['a picture that was drawn', { input: [{ type: 'image_generation_call', id: 'ig_1', result: 'AAAA' }] }],
    ['a context that was summed up', { input: [{ type: 'compaction', encrypted_content: 'gAAA' }] }],
    ['an earlier answer', { previous_response_id: 'resp_1' }],
    ['no object', { input: ['x'] }],
  ])('by the context window: %s', (_, request) => {
    expect(bound(request).tokens).toBe(128_000);
  });

  it('by the rule of the family: a picture, wherever it stands', () => {
    const part = { type: 'input_image', image_url: 'https://example.com/a.png' };
    const screen = { type: 'computer_call_output', output: { type: 'computer_screenshot', image_url: part.image_url } };
    for (const request of [
      message(part),
      { input: [{ type: 'function_call_output', output: [part] }] },
      { input: [screen] },
    ]) {
      const { tokens, bytes } = bound(request);
      expect(tokens).toBe(bytes + 48_169);
    }
    expect(bound(message({ type: 'input_image', file_id: null, image_url: part.image_url })).tokens).toBeLessThan(
      128_000,
    );
  });

  it('by more windows, where it is read again', () => {
    expect(bound({ tools: [{ type: 'web_search' }] }).tokens).toBe(4 * 128_000);
    expect(bound({ tools: [{ type: 'web_search' }], max_tool_calls: 1 }).tokens).toBe(2 * 128_000);
    expect(bound({ tools: [{ type: 'mcp', server_url: 'https://x' }], max_tool_calls: 0 }).tokens).toBe(128_000);
    expect(bound({ context_management: [{ type: 'compaction' }] }).tokens).toBe(2 * 128_000);
    expect(bound({ input: [{ type: 'compaction_trigger' }] }).tokens).toBe(2 * 128_000);
  });
});

it('what is structured must not be cut, and what is thought is not seen', () => {
  expect(read({ text: { format: { type: 'json_schema' } } }).mustBeWhole).toBe(true);
  expect(read({ text: { format: { type: 'text' }, verbosity: 'low' } }).mustBeWhole).toBe(false);
  expect(read({}).hidesOutput).toBe(false);
  for (const request of [{ reasoning: { effort: 'low' } }, { tools: [{ type: 'web_search' }] }]) {
    expect(read(request).hidesOutput).toBe(true);
  }
});

it('a count of input tokens asks for nothing, whatever tools it lists', () => {
  const counted = inputTokensRequests.read(bodyOf({ tools: [{ type: 'image_generation' }], service_tier: 'flex' }));
  expect(counted).toMatchObject({ n: 0, reads: 1, others: null, asks: { units: [], serviceTier: null } });
  expect(inputTokensRequests.isFree).toBe(true);
});
