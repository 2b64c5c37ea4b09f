import { describe, expect, it } from 'vitest';
import type { TollgateError } from '../../../src/errors.ts';
import type { Json } from '../../../src/lib/json.ts';
import { refuseStored, storedIdsIn, storedIdsOf } from '../../../src/metering/requests/stored-ids.ts';

/** The `param` of the refusal; null: there was none. */
function refusedParam(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    expect((error as TollgateError).code).toBe('invalid_request');
    return (error as TollgateError).param;
  }
}

const item = (...input: object[]): Json => ({ input });
const tool = (...tools: object[]): Json => ({ tools });
const parts = (...content: object[]): Json => item({ role: 'user', content });

describe('what names something stored that nobody tracks', () => {
  it.each<[string, Json, string]>([
    ['a conversation', { conversation: 'conv_1' }, 'conversation'],
    ['a conversation as an object', { conversation: { id: 'conv_1' } }, 'conversation'],
    ['a prompt', { prompt: { id: 'pmpt_1' } }, 'prompt.id'],
    ['a file', parts({ type: 'input_file', file_id: 'file-1' }), 'input[0].content[0].file_id'],
    [
      'a picture',
      parts({ type: 'input_text', text: 'a' }, { type: 'input_image', file_id: 'file-1' }),
      'input[0].content[1].file_id',
    ],
    [
      'a file in what a function gave',
      item({ type: 'function_call_output', call_id: 'c', output: [{ type: 'input_file', file_id: 'file-1' }] }),
      'input[0].output[0].file_id',
    ],
    [
      'a screenshot',
      item({ type: 'computer_call_output', call_id: 'c', output: { type: 'computer_screenshot', file_id: 'file-1' } }),
      'input[0].output.file_id',
    ],
    ['vector stores', tool({ type: 'file_search', vector_store_ids: ['vs_1'] }), 'tools[0].vector_store_ids[0]'],
    [
      'files of a container',
      tool({ type: 'code_interpreter', container: { type: 'auto', file_ids: ['file-1'] } }),
      'tools[0].container.file_ids[0]',
    ],
    ['a connector', tool({ type: 'mcp', connector_id: 'connector_gmail' }), 'tools[0].connector_id'],
    [
      'a skill',
      tool({ type: 'shell', environment: { type: 'container_auto', skills: [{ skill_id: 'skill_1' }] } }),
      'tools[0].environment.skills[0].skill_id',
    ],
    [
      'a mask',
      tool({ type: 'image_generation', input_image_mask: { file_id: 'f' } }),
      'tools[0].input_image_mask.file_id',
    ],
    [
      'a tool within a namespace',
      tool({ type: 'namespace', tools: [{ connector_id: 'c' }] }),
      'tools[0].tools[0].connector_id',
    ],
    ['a kind of id that nobody knows yet', tool({ type: 'later', notebook_id: 'nb_1' }), 'tools[0].notebook_id'],
    [
      'instructions as items',
      { instructions: [{ content: [{ file_id: 'f' }] }] },
      'instructions[0].content[0].file_id',
    ],
    ['an id that is no text', { previous_response_id: 7 }, 'previous_response_id'],
  ])('%s is refused by its place', (_, json, param) => {
    expect(refusedParam(() => storedIdsOf(json))).toBe(param);
  });

  it('is refused in a chat and in other values too', () => {
    const message = { role: 'user', content: [{ type: 'file', file: { file_id: 'file-1' } }] };
    expect(refusedParam(() => storedIdsIn([message]))).toBe('messages[0].content[0].file.file_id');
    expect(refusedParam(() => refuseStored([{ file_id: 'file-1' }], 'images'))).toBe('images[0].file_id');
    expect(refusedParam(() => refuseStored({ google: { cached_content: 'c' } }, 'extra_body'))).toBe(
      'extra_body.google.cached_content',
    );
  });

  it('is not hidden by depth, nor by how a field is spelled', () => {
    let deep: unknown = { file_id: 'f' };
    for (let i = 0; i < 200; i++) deep = { a: deep };
    expect(refusedParam(() => storedIdsOf({ input: [deep] }))).toMatch(/^input\[0\](\.a){65}$/);
    expect(refusedParam(() => storedIdsOf({ input: [{ content: [{ '\\': 'f' }] }] }))).toBe('input[0].content[0]');
  });
});

describe('a name that Node 26 misreads, because an escape is in it', () => {
  const named = (key: string) =>
    `{"input":[{"type":"message","role":"user","content":[{"type":"input_file","${key}":"file-1"}]}]}`;

  it.each([
    ['at its beginning', '\\\\', '\\u0066ile_id'],
    ['in its middle', 'file_i\\\\', 'file_i\\u0064'],
  ])('%s', (_, primes, key) => {
    // What primes the fault: an object that has the misread key in the same place.
    for (let i = 0; i < 3; i++)
      expect(refusedParam(() => storedIdsOf(JSON.parse(named(primes)) as Json))).toBe('input[0].content[0]');
    expect(refusedParam(() => storedIdsOf(JSON.parse(named(key)) as Json))).toMatch(/^input\[0\]\.content\[0\]/);
  });
});

describe('what an account may name of its own answers', () => {
  const idsOf = (json: Json) => storedIdsOf(json).map(({ id, param, kind }) => [id, param, kind]);

  it('is told with its place', () => {
    expect(idsOf({ previous_response_id: 'resp_1' })).toEqual([['resp_1', 'previous_response_id', 'response']]);
    expect(idsOf(item({ type: 'item_reference', id: 'msg_1' }, { id: 'rs_1' }))).toEqual([
      ['msg_1', 'input[0].id', 'item'],
      ['rs_1', 'input[1].id', 'item'],
    ]);
    expect(idsOf(tool({ type: 'code_interpreter', container: 'cntr_1' }))).toEqual([
      ['cntr_1', 'tools[0].container', 'item'],
    ]);
    const brought = { type: 'additional_tools', tools: [{ type: 'code_interpreter', container: 'cntr_1' }] };
    expect(idsOf(item(brought))).toEqual([['cntr_1', 'input[0].tools[0].container', 'item']]);
    expect(
      idsOf(tool({ type: 'shell', environment: { type: 'container_reference', container_id: 'cntr_1' } })),
    ).toEqual([['cntr_1', 'tools[0].environment.container_id', 'item']]);
    expect(idsOf(item({ type: 'mcp_approval_response', approval_request_id: 'mcpr_1', approve: true }))).toEqual([
      ['mcpr_1', 'input[0].approval_request_id', 'item'],
    ]);
    expect(storedIdsIn([{ role: 'assistant', audio: { id: 'audio_1' } }])).toEqual([
      { id: 'audio_1', param: 'messages[0].audio.id', kind: 'item' },
    ]);
  });

  it.each([
    ['thoughts without their content', { type: 'reasoning', id: 'rs_1', summary: [] }],
    ['thoughts with an empty one', { type: 'reasoning', id: 'rs_1', encrypted_content: '' }],
    ['a picture that was drawn', { type: 'image_generation_call', id: 'ig_1', result: 'aGk=' }],
    ['a message without content', { type: 'message', id: 'msg_1', role: 'assistant' }],
    ['what has neither a type nor a role, whatever stands beside it', { id: 'msg_1', content: 'a' }],
    ['what has an empty type', { type: null, id: 'msg_1', content: 'a', role: null }],
    ['a kind that nobody knows yet', { type: 'later', id: 'l_1', content: 'x' }],
  ])('%s is only named', (_, one) => {
    expect(idsOf(item(one))).toEqual([[one.id, 'input[0].id', 'item']]);
  });

  it.each([
    ['a message', { type: 'message', id: 'msg_1', role: 'assistant', content: [] }],
    ['a message of no type', { id: 'msg_1', role: 'user', content: 'a' }],
    ['a call', { type: 'function_call', id: 'fc_1', call_id: 'c', name: 'f', arguments: '{"file_id":"x"}' }],
    ['its output', { type: 'function_call_output', id: 'o', call_id: 'c', output: '{"file_id":"x"}' }],
    ['sealed thoughts', { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'gAAAAA' }],
  ])('%s carries its content, and names nothing', (_, one) => {
    expect(idsOf(item(one))).toEqual([]);
  });

  it('is not what the parameters of a function are called', () => {
    const parameters = { type: 'object', properties: { file_id: { type: 'string', default: 'f' } } };
    expect(idsOf(tool({ type: 'function', name: 'f', parameters }))).toEqual([]);
  });

  it('is not more than a thousand', () => {
    const many = Array.from({ length: 1_001 }, (_, i) => ({ type: 'item_reference', id: `msg_${i}` }));
    expect(refusedParam(() => storedIdsOf({ input: many }))).toBe('input');
    expect(storedIdsOf({ input: many.slice(1) })).toHaveLength(1_000);
  });
});
