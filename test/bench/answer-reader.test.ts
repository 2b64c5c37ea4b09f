/** The load generator counts an answer only when it is whole and right, however it was cut on its way. */
import { describe, expect, test } from 'vitest';
import { AnswerReader } from './answer-reader.ts';
import { answerBytes, answers } from './workload.ts';

const BYTES = { json: answerBytes('json'), sse: answerBytes('sse') };
const body = answers('json')[0]!.parts[0]!.toString();
const frames = answers('sse')[0]!.parts.map(String);

const json = (status = 200, payload = body): string =>
  `HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n${payload}`;
const sse = (parts = frames): string =>
  `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${[...parts, ''].map((p) => `${p.length.toString(16)}\r\n${p}\r\n`).join('')}`;

describe.each([
  ['json', json()],
  ['sse', sse()],
  ['sse', sse([frames.join('')])],
] as const)('a whole answer, %s', (mode, wire) => {
  test('is counted once at its last byte, wherever it is split', () => {
    for (let at = 1; at < wire.length; at++) {
      const reader = new AnswerReader(mode, BYTES[mode]);
      expect(reader.push(Buffer.from(wire.slice(0, at)))).toBe(false);
      expect(reader.push(Buffer.from(wire.slice(at)))).toBe(true);
    }
  });

  test('is followed by the next one on the same connection, byte by byte', () => {
    const reader = new AnswerReader(mode, BYTES[mode]);
    const ends = [...`${wire}${wire}`].flatMap((byte, i) => (reader.push(Buffer.from(byte)) ? [i + 1] : []));
    expect(ends).toEqual([wire.length, 2 * wire.length]);
  });

  test('is not counted while its last byte is missing', () => {
    const reader = new AnswerReader(mode, BYTES[mode]);
    expect(reader.push(Buffer.from(wire.slice(0, -1)))).toBe(false);
  });
});

test.each([
  ['another status', 'json', json(429), 'status 429'],
  ['a shorter body', 'json', json(200, body.slice(1)), '1433 bytes of payload'],
  ['a frame too few', 'sse', sse(frames.slice(1)), 'bytes of payload'],
  ['another end of the stream', 'sse', sse([...frames.slice(0, -1), 'data: [GONE]\n\n']), 'no [DONE]'],
  ['more than one answer', 'json', `${json()}H`, '1 bytes follow'],
  ['no framing', 'json', `HTTP/1.1 200 OK\r\n\r\n${body}`, 'neither'],
  ['broken framing', 'sse', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 'broken chunk framing'],
] as const)('%s is refused with the reason', (_name, mode, wire, reason) => {
  const reader = new AnswerReader(mode, BYTES[mode]);
  expect(() => reader.push(Buffer.from(wire))).toThrow(reason);
});
