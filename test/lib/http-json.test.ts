/** JSON bodies and cursors of the planes that are not a provider's. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cursorPosition, parseJson, toPage } from '../../src/lib/http-json.ts';

const parse = (text: string) => parseJson(Buffer.from(text));

test('a body is read as JSON.parse reads it, whatever it holds', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      expect(parse(text)).toEqual(JSON.parse(text));
    }),
  );
});

test.each(['100000000.000000001', '9007199254740993', '0.10', '1e400', '1.0', '-0'])(
  'the number %s, which a float would not keep as it is written, stays text',
  (text) => {
    expect(parse(`{"a":{"b":[${text}]}}`)).toEqual({ a: { b: [text] } });
  },
);

test('no body is an empty object; what is no JSON in UTF-8 is a syntax error', () => {
  expect(parse('')).toEqual({});
  for (const text of ['{', '{} {}', 'nul', ' ']) expect(() => parse(text)).toThrow(SyntaxError);
  expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(SyntaxError);
});

test('a page knows by one row too many whether more follow, and where', () => {
  const page = (rows: number[]) => toPage(rows, 2, String, (row) => `after ${row}`);
  expect(page([])).toEqual({ data: [], has_more: false, next_cursor: null });
  expect(page([1, 2])).toEqual({ data: ['1', '2'], has_more: false, next_cursor: null });
  const more = page([1, 2, 3]);
  expect(more).toMatchObject({ data: ['1', '2'], has_more: true });
  expect(cursorPosition(more.next_cursor!)).toBe('after 2');
});
