import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundaryOf, FormFault, MultipartParser, type PartHead } from '../../src/lib/multipart.ts';

interface Read {
  head: PartHead;
  start: number;
  end: number;
  value: Buffer;
}

function parse(body: Buffer, boundary: string, cuts: readonly number[] = []): Read[] {
  const parts: Read[] = [];
  const parser = new MultipartParser(boundary, {
    onPart: (head, _headers, start) => void parts.push({ head, start, end: -1, value: Buffer.alloc(0) }),
    onValue: (bytes) => {
      const part = parts.at(-1)!;
      part.value = Buffer.concat([part.value, bytes]);
    },
    onPartEnd: (end) => {
      parts.at(-1)!.end = end;
    },
  });
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    parser.push(body.subarray(from, cut));
    from = cut;
  }
  parser.push(body.subarray(from));
  parser.end();
  return parts;
}

const B = 'xBOUNDx';
const part = (name: string, value: string, more = '') =>
  `--${B}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
const form = (...parts: string[]) => Buffer.from(`${parts.join('')}--${B}--\r\n`, 'latin1');
const FILE = '; filename="a.wav"\r\nContent-Type: audio/wav';

describe('a form', () => {
  const body = form(
    part('file', '\r\n--xBOUND \r\n\r\n--\0\xff\r', FILE),
    part('model', 'whisper-1'),
    part('empty', ''),
    part('timestamp_granularities[]', 'word'),
  );

  it('is read the same however its bytes are split, fields after the file too, and each range holds its value', () => {
    const whole = parse(body, B);
    expect(whole.map(({ head, value }) => [head.name, head.isFile, value.toString('latin1')])).toEqual([
      ['file', true, '\r\n--xBOUND \r\n\r\n--\0\xff\r'],
      ['model', false, 'whisper-1'],
      ['empty', false, ''],
      ['timestamp_granularities[]', false, 'word'],
    ]);
    for (const { start, end, value } of whole) expect(body.subarray(start, end)).toEqual(value);
    for (let cut = 0; cut <= body.length; cut++) expect(parse(body, B, [cut])).toEqual(whole);
    expect(parse(body, B, [...body.keys()])).toEqual(whole);
    fc.assert(
      fc.property(fc.array(fc.nat(body.length)), (cuts) => {
        expect(parse(body, B, cuts)).toEqual(whole);
      }),
      { numRuns: 50 },
    );
  });

  it('holds any bytes that are not its boundary', () => {
    const values = fc.array(fc.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(values, fc.nat(400), (list, cut) => {
        const texts = list.map((bytes) => Buffer.from(bytes).toString('latin1'));
        const bytes = form(...texts.map((text) => part('f', text, FILE)));
        const read = parse(bytes, B, [Math.min(cut, bytes.length)]);
        expect(read.map(({ value }) => value.toString('latin1'))).toEqual(texts);
      }),
      { numRuns: 100 },
    );
  });

  it('is read in the ways that clients write it', () => {
    const [one] = parse(
      Buffer.from(
        `\r\n--${B}\r\nCONTENT-TYPE: text/plain; charset=UTF-8\r\ncontent-disposition:form-data;name=a\r\n\r\n1\r\n--${B}--`,
      ),
      B,
    );
    expect(one).toMatchObject({ head: { name: 'a', isFile: false }, value: Buffer.from('1') });
    const named = part('file', 'x', `; filename="C:\\a;b.wav"; filename*=UTF-8''%c3%a4.wav`);
    expect(parse(form(named), B)[0]!.head.filename).toBe('C:\\a;b.wav');
  });

  it.each([
    ['a boundary inside a value', form(part('a', `1\n--${B}\nContent-Disposition: form-data; name="model"\n\nx`))],
    ['a part behind a bare line feed', form(part('a', `1\n${part('model', 'x').trimEnd()}`))],
    ['a boundary after a bare line feed', form(part('a', `1\n--${B}\r\n`))],
    ['a boundary in a header', form(part('a', '1', `; filename="--${B}"`))],
    ['text before the first boundary', Buffer.concat([Buffer.from('preamble\r\n'), form(part('a', '1'))])],
    ['more after the last boundary', Buffer.concat([form(part('a', '1')), Buffer.from(part('model', 'x'))])],
    ['no last boundary', form(part('a', '1')).subarray(0, -4)],
    ['nothing', Buffer.alloc(0)],
    ['no parts', form()],
    ['blanks after a boundary', Buffer.from(form(part('a', '1')).toString().replace(B, `${B} `))],
    ['no name', Buffer.from(form(part('a', '1')).toString().replace(' name="a"', ' nome="a"'))],
    ['two names', form(part('a', '1', '; name="model"'))],
    ['a name in another encoding', form(part('a', '1', "; name*=UTF-8''model"))],
    ['a name with odd characters', form(part('a b', '1'))],
    ['a hidden quote', form(part('a', '1', '; filename="x\\"; name="model"'))],
    ['a header twice', form(part('a', '1', '\r\nContent-Disposition: form-data; name="model"'))],
    ['a folded header', form(part('a', '1', ';\r\n filename="x"'))],
    ['a bare line feed in a header', form(part('a', '1', '\nX: y'))],
    ['base64', form(part('a', 'MQ==', '\r\nContent-Transfer-Encoding: base64'))],
    ['another charset', form(part('a', '1', '\r\nContent-Type: text/plain; charset=utf-16'))],
    ['too many parts', form(...Array.from({ length: 101 }, (_, i) => part(`a${i}`, '')))],
    ['headers without an end', form(part('a', '1', `; filename="${'x'.repeat(5_000)}`))],
    ['no headers', Buffer.from(`--${B}\r\n\r\nx\r\n--${B}--`)],
  ])('is refused with %s, wherever it is split', (_what, bytes) => {
    expect(() => parse(bytes, B)).toThrow(FormFault);
    expect(() => parse(bytes, B, [...bytes.keys()])).toThrow(FormFault);
  });
});

describe('a boundary', () => {
  it.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data;charset=utf-8;Boundary="a b=c"', 'a b=c'],
    ['multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW ', '----WebKitFormBoundary7MA4YWxkTrZu0gW'],
  ])('is read from %s', (type, boundary) => expect(boundaryOf(type)).toBe(boundary));

  it.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=a; boundary=b',
    'multipart/form-data; boundary="a\\"b"',
    'multipart/form-data; boundary="a "',
    "multipart/form-data; boundary*=utf-8''a",
    `multipart/form-data; boundary=${'a'.repeat(71)}`,
  ])('is refused in %s', (type) => expect(() => boundaryOf(type)).toThrow(FormFault));
});
