/** The frame splitter finds the same frames however the network cuts the stream, and never copies one that came whole. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameSplitter, FrameTooLargeError, frameData } from '../../src/lib/sse.ts';

function framesOf(chunks: readonly Buffer[], maxFrameBytes = 1 << 20): { frames: string[]; rest: string } {
  const frames: string[] = [];
  const splitter = new FrameSplitter(maxFrameBytes);
  for (const chunk of chunks) splitter.push(chunk, (frame) => frames.push(frame.toString('latin1')));
  return { frames, rest: splitter.rest().toString('latin1') };
}

/** The definition, written plainly: lines, each with its end; a frame is what a blank line ends. */
function plainFrames(text: string): { frames: string[]; rest: string } {
  const frames: string[] = [];
  let frame = '';
  let undecided = '';
  for (const [line] of text.matchAll(/[^\r\n]*(?:\r\n|\n|\r|$)/g)) {
    const fresh = frame === '';
    frame += line;
    if (/^[\r\n]/.test(line) && !fresh) {
      frames.push(frame);
      frame = '';
    }
  }
  const last = frames.at(-1);
  // A CR that ends the text may be half of a CRLF: its frame is not over yet.
  if (frame === '' && last?.endsWith('\r') === true) undecided = frames.pop()!;
  return { frames, rest: undecided + frame };
}

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i]!, end));
}

const STREAMS: Record<string, string> = {
  'LF ends the lines': 'data: a\n\ndata: b\n\n',
  'CRLF ends the lines': 'data: a\r\n\r\ndata: b\r\n\r\n',
  'CR ends the lines': 'data: a\r\rdata: b\r\rdata: c',
  'line ends are mixed': 'data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\n',
  'comments stand between frames': ': ping\n\ndata: a\n\n: PROCESSING\n\n',
  'data has several lines': 'data: a\ndata: b\n\ndata: c\n\n',
  'fields stand beside data': 'event: x\nid: 7\ndata: a\n\n',
  'there are blank lines too many': '\n\ndata: a\n\n\n\n\ndata: b\n\n',
  'it begins with a byte order mark': '\uFEFFdata: a\n\n',
  'the last frame is not over': 'data: a\n\ndata: b\n',
};

describe('frames are found', () => {
  it.each(Object.entries(STREAMS))('where %s, cut at any byte', (_, text) => {
    const bytes = Buffer.from(text);
    const whole = framesOf([bytes]);
    expect(whole.frames.join('') + whole.rest).toBe(bytes.toString('latin1'));
    expect(whole).toEqual(plainFrames(bytes.toString('latin1')));
    for (let a = 0; a <= bytes.length; a++) {
      for (let b = a; b <= bytes.length; b++) expect(framesOf(cutAt(bytes, [a, b]))).toEqual(whole);
    }
    expect(framesOf([...bytes].map((byte) => Buffer.from([byte])))).toEqual(whole);
  });

  it('in any stream, cut anywhere', () => {
    const piece = fc.constantFrom('data: x', 'data:', ': c', '{"a":1}', '\n', '\n', '\r', '\r\n', '\n\n', 'é');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.array(fc.nat(200), { maxLength: 8 }), (pieces, cuts) => {
        const bytes = Buffer.from(pieces.join(''));
        expect(framesOf(cutAt(bytes, cuts))).toEqual(plainFrames(bytes.toString('latin1')));
      }),
      { numRuns: 1000 },
    );
  });

  it('without a copy where a chunk holds them whole', () => {
    const chunk = Buffer.from('data: a\n\ndata: b\n\n');
    new FrameSplitter(100).push(chunk, (frame) => {
      expect(frame.buffer).toBe(chunk.buffer);
    });
  });

  it('however large, up to the limit and not beyond, wherever it is cut', () => {
    const frame = Buffer.from(`data: ${'x'.repeat(1000)}\n\n`);
    for (const cuts of [[], [500], [1, 1007]]) {
      expect(framesOf(cutAt(frame, cuts), frame.length).frames).toHaveLength(1);
      expect(() => framesOf(cutAt(frame, cuts), frame.length - 1)).toThrow(FrameTooLargeError);
    }
    expect(() => framesOf([Buffer.from('data: x'), Buffer.alloc(100, 0x78)], 50)).toThrow(FrameTooLargeError);
  });

  it.each(['\n\n', '\r\r\n', '\r\n\r\n'])('of 10 MB, in pieces of a socket, ended by %j', (end) => {
    const bytes = Buffer.concat([
      Buffer.from('data: '),
      Buffer.alloc(10_000_000, 0x78),
      Buffer.from(`${end}data: b\n\n`),
    ]);
    const pieces = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) =>
      bytes.subarray(i * 65_536, (i + 1) * 65_536),
    );
    const { frames } = framesOf(pieces, 1 << 25);
    expect(frames.map((frame) => frame.length)).toEqual([10_000_006 + end.length, 9]);
    expect(frameData(Buffer.from(frames[0]!, 'latin1'))).toHaveLength(10_000_000);
  });

  it('in linear time: a frame in ten thousand pieces is copied once', () => {
    const pieces = Array.from({ length: 10_000 }, () => Buffer.alloc(100, 0x78));
    expect(framesOf([...pieces, Buffer.from('\n\n')]).frames[0]).toHaveLength(1_000_002);
  });
});

describe('the data of a frame', () => {
  it.each([
    ['data: a\n\n', 'a'],
    ['data:a\n\n', 'a'],
    ['data:  a\n\n', ' a'],
    ['data: a\r\n\r\n', 'a'],
    ['data: a\r\r', 'a'],
    ['data: a\r\n\n', 'a'],
    ['data: a\ndata: b\n\n', 'a\nb'],
    ['data: a\rdata: b\n\n', 'a\nb'],
    ['data: a\ndata\ndata:b\n\n', 'a\n\nb'],
    ['data\n\n', ''],
    ['event: x\ndata: a\nid: 3\n\n', 'a'],
    [': comment\ndata: a\n\n', 'a'],
    ['\n\ndata: a\n\n', 'a'],
    ['\uFEFFdata: a\n\n', 'a'],
    ['data: é\ndata: ü\n\n', 'é\nü'],
    [': ping\n\n', null],
    ['event: x\n\n', null],
    ['database: x\n\n', null],
  ])('%j is %j', (frame, data) => {
    expect(frameData(Buffer.from(frame))?.toString() ?? null).toBe(data);
  });
});
