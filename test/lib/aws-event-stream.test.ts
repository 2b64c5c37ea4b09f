/** Messages are found however the network cuts them, bounded by what they say of themselves, and refused where that is false. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventStreamSplitter, readMessage } from '../../src/lib/aws-event-stream.ts';
import { BadFrameError, FrameTooLargeError } from '../../src/lib/sse.ts';
import { eventMessage, rawMessage } from '../support/event-stream.ts';

function messagesOf(pieces: readonly Buffer[], max = 1 << 20) {
  const splitter = new EventStreamSplitter(max);
  const found: string[] = [];
  for (const piece of pieces) splitter.push(piece, (frame) => found.push(frame.toString('hex')));
  return { found, rest: splitter.rest().toString('hex'), atBoundary: splitter.atBoundary };
}

it('any split gives the same messages', () => {
  const message = fc
    .tuple(
      fc.dictionary(fc.string({ minLength: 1, maxLength: 5 }), fc.string({ maxLength: 5 }), { maxKeys: 3 }),
      fc.string(),
    )
    .map(([headers, payload]) => eventMessage(headers, payload));
  const cuts = fc.array(fc.nat(1000), { maxLength: 20 });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), cuts, fc.nat(15), (messages, cuts, cutOff) => {
      const all = Buffer.concat(messages);
      const bytes = all.subarray(0, Math.max(0, all.length - cutOff));
      const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
      const found = messagesOf(at.slice(1).map((end, i) => bytes.subarray(at[i], end)));
      expect(found).toEqual(messagesOf([bytes]));
      expect(found.found.join('') + found.rest).toBe(bytes.toString('hex'));
      expect(found.atBoundary).toBe(found.rest === '');
      if (cutOff === 0) expect(found.found).toEqual(messages.map((one) => one.toString('hex')));
    }),
    { numRuns: 300 },
  );
});

describe('a message', () => {
  const good = eventMessage({ ':event-type': 'chunk' }, 'payload');

  it('that came whole is a view of its chunk', () => {
    new EventStreamSplitter(1000).push(good, (frame) => expect(frame.buffer).toBe(good.buffer));
  });

  it('is refused by the length that it says, before its bytes come', () => {
    const large = eventMessage({}, Buffer.alloc(1000));
    expect(() => messagesOf([large.subarray(0, 12)], 1015)).toThrow(FrameTooLargeError);
    expect(messagesOf([large], 1016).found).toHaveLength(1);
  });

  it('of which any one bit is turned over is refused, or still waited for', () => {
    fc.assert(
      fc.property(fc.nat(good.length * 8 - 1), (bit) => {
        const bad = Buffer.from(good);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        expect(() => messagesOf([bad])).toThrow(BadFrameError);
      }),
    );
  });

  it.each([
    ['is shorter than a message can be', 15, 0],
    ['has more headers than bytes', 20, 5],
  ])('that %s is refused though its CRC is right', (_, length, headers) => {
    const bytes = rawMessage(Buffer.alloc(0), Buffer.alloc(8));
    bytes.writeUInt32BE(length, 0);
    bytes.writeUInt32BE(headers, 4);
    bytes.writeUInt32BE(crc32(bytes.subarray(0, 8)), 8);
    expect(() => messagesOf([bytes])).toThrow('lengths do not fit');
  });

  it('is refused where text comes instead', () => {
    expect(() => messagesOf([Buffer.from('{"message":"Internal Server Error"}')])).toThrow(BadFrameError);
  });

  it('is decoded past headers of every type', () => {
    const header = (name: string, type: number, value: number[]): number[] => [
      name.length,
      ...Buffer.from(name),
      type,
      ...value,
    ];
    const headers = [
      ...header('a', 0, []),
      ...header('b', 1, []),
      ...header('c', 2, [1]),
      ...header('d', 3, [0, 1]),
      ...header('e', 4, [0, 0, 0, 1]),
      ...header('f', 5, Array(8).fill(0)),
      ...header('g', 6, [0, 2, 9, 9]),
      ...header('h', 8, Array(8).fill(0)),
      ...header('i', 9, Array(16).fill(0)),
      ...header('j', 7, [0, 2, 0x6f, 0x6b]),
    ];
    const read = readMessage(rawMessage(Buffer.from(headers), Buffer.from('{}')));
    expect([...read!.headers]).toEqual([['j', 'ok']]);
    expect(read!.payload.toString()).toBe('{}');
  });

  it('whose headers are garbage says nothing, and harms nobody', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (headers) => {
        const read = readMessage(rawMessage(Buffer.from(headers), Buffer.from('x')));
        if (read !== null) expect(read.payload.toString()).toBe('x');
      }),
    );
    expect(readMessage(rawMessage(Buffer.from([1, 0x61, 10]), Buffer.alloc(0)))).toBeNull();
    expect(readMessage(rawMessage(Buffer.from([1, 0x61, 7, 0, 9, 1]), Buffer.alloc(0)))).toBeNull();
  });
});
