/** The texts of a prompt, as each endpoint has them: what they are counted by. */
import { expect, it } from 'vitest';
import { promptTexts } from '../../src/metering/prompt-text.ts';

const texts = (body: object): string[] => promptTexts(Buffer.from(JSON.stringify(body)));

it.each([
  [{ messages: [{ content: 'a' }, { content: [{ text: 'b' }, { image_url: 'c' }, 'd'] }, 7] }, ['a', 'b']],
  [{ messages: [{ content: 'a' }], prompt: 'not read', input: 'neither' }, ['a']],
  [{ prompt: 'a' }, ['a']],
  [{ prompt: ['a', 'b'] }, ['a', 'b']],
  [{ prompt: [1, 2] }, []],
  [{ prompt: [[1], [2]] }, []],
  [{ prompt: null }, []],
  [{ input: ['a', 'b'] }, ['a', 'b']],
  [{ input: [{ type: 'text', text: 'a' }] }, []],
  [{}, []],
])('%j', (body, expected) => {
  expect(texts(body)).toEqual(expected);
});
