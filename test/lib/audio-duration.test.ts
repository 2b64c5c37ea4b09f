/** How long sounds play, by their own bytes: true files of each format, and the same with headers that say less. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { soundSeconds } from '../../src/lib/audio/duration.ts';
import { mp3, wav } from '../support/sounds.ts';

const sound = (name: string) => readFileSync(join(import.meta.dirname, 'sounds', name));
const secondsOf = (bytes: Buffer) =>
  soundSeconds({ length: bytes.length, read: async (start, end) => bytes.subarray(start, end) });

/** What is before or behind the tone is the encoder's: less than 0.12 s. */
const FILES = [
  ...['tone.mp3', 'tone.flac', 'opus.ogg', 'vorbis.ogg', 'opus.webm', 'vorbis.webm', 'live.webm'],
  ...['aac.m4a', 'fragments.mp4'],
];

describe('a sound', () => {
  it.each(FILES)('%s plays as long as it was made for', async (name) => {
    const seconds = await secondsOf(sound(name));
    expect(seconds).toBeGreaterThanOrEqual(1.3);
    expect(seconds).toBeLessThan(1.42);
  });

  it('of plain samples is measured to the sample', async () => {
    expect(await secondsOf(wav(3.25))).toBe(3.25);
    expect(await secondsOf(mp3(100))).toBeCloseTo((100 * 1_152) / 44_100, 9);
  });

  it.each([...FILES, 'a.wav'])(
    '%s that is cut anywhere, or has bytes changed, is measured or refused: it ends',
    async (name) => {
      const bytes = name === 'a.wav' ? wav(0.2) : sound(name);
      for (let cut = 0; cut < bytes.length; cut += 1 + Math.floor(bytes.length / 150)) {
        await secondsOf(bytes.subarray(0, cut));
        const changed = Buffer.from(bytes);
        changed[cut] = changed[cut]! ^ 0xff;
        changed[(cut * 7) % bytes.length] = 0xff;
        const seconds = await secondsOf(changed);
        expect(seconds === null || (Number.isFinite(seconds) && seconds > 0)).toBe(true);
      }
    },
  );

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('It is no sound.')],
    ['zeros', Buffer.alloc(4_096)],
    ['a head alone', wav(1).subarray(0, 44)],
    ['WAV of a packed format', withBytes(wav(1), 20, [0x55, 0])],
    ['AAC without a container', Buffer.from('fff15080043ffc'.repeat(64), 'hex')],
  ])('is refused where it is %s', async (_what, bytes) => expect(await secondsOf(bytes)).toBeNull());
});

describe('a header that says less', () => {
  it('of WAV is not believed', async () => {
    for (const stated of [0, 0xffffffff, 5_000_000]) expect(await secondsOf(wav(2, stated))).toBe(2);
    // A part that is no chunk is played on by some.
    expect(await secondsOf(wav(2, 3_200))).toBeGreaterThan(1.9);
  });

  it('of MP3 is not believed, and frames behind what is none are found', async () => {
    const info = Buffer.from(mp3(1));
    info.write('Xing', 36);
    info.writeUInt32BE(1, 40);
    info.writeUInt32BE(1, 44);
    const tag = Buffer.from('ID3\x04\x00\x00\x00\x00\x00\x0a0123456789', 'latin1');
    const junk = Buffer.alloc(1_000, 'junk');
    const seconds = await secondsOf(Buffer.concat([tag, info, mp3(50), junk, mp3(50)]));
    expect(seconds).toBeCloseTo((100 * 1_152) / 44_100, 9);
  });

  it('of FLAC is not believed', async () => {
    const bytes = sound('tone.flac');
    bytes.writeUIntBE(1, 22, 4);
    expect(await secondsOf(bytes)).toBe(await secondsOf(sound('tone.flac')));
  });

  it('of Ogg, the positions of its pages, is not believed', async () => {
    for (const name of ['opus.ogg', 'vorbis.ogg']) {
      const bytes = sound(name);
      for (let at = bytes.indexOf('OggS'); at >= 0; at = bytes.indexOf('OggS', at + 1))
        bytes.writeBigUInt64LE(1n, at + 6);
      expect(await secondsOf(bytes)).toBe(await secondsOf(sound(name)));
    }
  });

  it('of MP4, its times and durations, is not believed', async () => {
    const bytes = sound('aac.m4a');
    for (const [box, fields] of Object.entries({ mvhd: [16], mdhd: [16], tkhd: [20], stts: [12] })) {
      for (const field of fields) bytes.writeUInt32BE(1, bytes.indexOf(box) + 4 + field);
    }
    expect(await secondsOf(bytes)).toBe(await secondsOf(sound('aac.m4a')));
  });

  it('of Opus in MP4 is not measured: only its packets say how long they play', async () => {
    expect(await secondsOf(sound('opus.mp4'))).toBeNull();
  });

  it('of MP4, a clock of its decoder that its entry states, is not believed', async () => {
    const bytes = sound('aac.m4a');
    bytes.writeUInt16BE(48_000, bytes.indexOf('mp4a') + 28);
    bytes.writeUInt32BE(0x7fffffff, bytes.indexOf('mdhd') + 4 + 12);
    expect(await secondsOf(bytes)).toBe(await secondsOf(sound('aac.m4a')));
  });

  it('hides most of a file: it is refused', async () => {
    const hidden = Buffer.concat([
      sound('opus.webm'),
      Buffer.from([0xec, 0x10, 0x01, 0x00, 0x00]),
      Buffer.alloc(65_536),
    ]);
    expect(await secondsOf(hidden)).toBeNull();
    const pages = Buffer.concat([sound('opus.ogg'), Buffer.alloc(65_536)]);
    expect(await secondsOf(pages)).toBeNull();
  });
});

/** FFmpeg plays each of these for as long as all that is in it. */
describe('sound that players find where its file says there is none is counted, or the file refused', () => {
  const plain = (samples: Buffer) => Buffer.concat([withBytes(wav(0), 40, [...size(samples.length)]), samples]);
  const size = (bytes: number, big = false): Buffer => {
    const four = Buffer.alloc(4);
    if (big) four.writeUInt32BE(bytes);
    else four.writeUInt32LE(bytes);
    return four;
  };
  const adts = Buffer.from(`fff16040041ffc${'00'.repeat(25)}`, 'hex');
  const frames = (head: string, length: number) =>
    Buffer.concat(Array.from({ length: 20 }, () => Buffer.concat([Buffer.from(head, 'hex')], length)));

  it.each([
    ['since its size is none', [4, 0, 0, 0, 0, 0x80, 0], 16_384],
    ['since its version is none', [0xff, 0, 0, 0, 0, 0x7f, 0], 16_256],
  ])('in what is no tag, %s', async (_why, head, bytes) => {
    const hidden = Buffer.concat([mp3(38), Buffer.alloc(bytes)], bytes);
    expect(await secondsOf(Buffer.concat([Buffer.from('ID3'), Buffer.from(head), hidden, mp3(20)]))).toBeNull();
  });

  it.each([
    ['MP3', mp3(20)],
    ['MP3 behind silence', Buffer.concat([Buffer.alloc(200_001), mp3(20)])],
    ['MP3 behind other sound', Buffer.concat([Buffer.alloc(70_000, 0x41), mp3(20)])],
    ['AAC', Buffer.concat(Array.from({ length: 20 }, () => adts))],
    ['AC-3', frames('0b7700000040', 128)],
    ['AC-3 with its bytes swapped', frames('0b7700000040', 128).swap16()],
    ['E-AC-3', frames('0b77003f3f80', 128)],
    ['DTS', frames('7ffe8001fc3c07f0', 128)],
  ])('in plain samples: %s', async (_what, packed) => expect(await secondsOf(plain(packed))).toBeNull());

  it('in plain samples that say to be larger than they are', async () => {
    const law = withBytes(withBytes(wav(1), 20, [6, 0]), 34, [64, 0]);
    expect(await secondsOf(law)).toBeNull();
    const head = wav(0);
    const used = (bits: number) =>
      Buffer.concat([
        withBytes(withBytes(withBytes(head.subarray(0, 36), 16, [40]), 20, [0xfe, 0xff]), 34, [32, 0]),
        Buffer.from([22, 0, bits, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]),
        Buffer.from('data'),
        size(64_000),
        Buffer.alloc(64_000),
      ]);
    expect(await secondsOf(used(16))).toBeNull();
    expect(await secondsOf(used(32))).toBe(1);
  });

  it('behind the samples of a large file, whose own size stands elsewhere', async () => {
    const first = withBytes(wav(1, 3_200), 0, [...Buffer.from('RF64')]);
    const second = Buffer.concat([Buffer.from('junk'), size(32_000), Buffer.alloc(32_000)]);
    const hidden = Buffer.concat([first.subarray(0, 44 + 3_200), second]);
    expect(await secondsOf(hidden)).toBe((3_200 + 8 + 32_000) / 32_000);
  });

  it('in a stream of Ogg of another packing', async () => {
    const page = Buffer.from('4f676753000200000000000000000900000000000000000000000107', 'hex');
    const flac = Buffer.concat([page, Buffer.from('\x7fFLAC\x01\x00', 'latin1')]);
    expect(await secondsOf(Buffer.concat([flac, sound('opus.ogg')]))).toBeNull();
  });

  it('in blocks of Vorbis that are shorter by what follows its setup', async () => {
    // Its short blocks are made shorter than its long ones.
    const bytes = withBytes(sound('vorbis.ogg'), 56, [0xb8]);
    // The page of the setup ends at 3,400; its last piece has 187 bytes, and eight more here: one mode, of short blocks.
    const longer = withBytes(Buffer.from(bytes), 98, [187 + 8]);
    const modes = Buffer.from('0000000000800000', 'hex');
    const seconds = await secondsOf(Buffer.concat([longer.subarray(0, 3_400), modes, longer.subarray(3_400)]));
    expect(seconds).toBe(await secondsOf(bytes));
  });

  it('in a track of WebM that another takes the name of', async () => {
    const bytes = sound('opus.webm');
    const mark = Buffer.from('1654ae6b', 'hex');
    const at = bytes.indexOf(mark, bytes.indexOf(mark) + 1);
    // Its size has eight bytes, or one.
    const long = bytes[at + 4] === 1;
    const tracks = long ? Number(bytes.readBigUInt64BE(at + 4) & 0xffffffn) + 12 : (bytes[at + 4]! & 127) + 5;
    const block = Buffer.from('1f43b67588a386810000800801', 'hex');
    expect(await secondsOf(Buffer.concat([bytes, bytes.subarray(at, at + tracks), block]))).toBeNull();
  });

  it.each([
    ['as a number of eight bytes', '83880000000000000002', false],
    ['twice', '838102838111', true],
  ])('in a track of WebM that says %s that it is sound', async (_how, type, refused) => {
    const bytes = sound('opus.webm');
    const kind = bytes.indexOf(Buffer.from('838102', 'hex'));
    const mark = Buffer.from('1654ae6b', 'hex');
    const tracks = bytes.indexOf(mark, bytes.indexOf(mark) + 1);
    const entry = bytes.indexOf(0xae, tracks + 5);
    const said = Buffer.from(type, 'hex');
    const grown = Buffer.concat([bytes.subarray(0, kind), said, bytes.subarray(kind + 3)]);
    // The size of an entry has eight bytes, or one.
    const size = grown[entry + 1] === 1 ? entry + 8 : entry + 1;
    grown[size] = grown[size]! + said.length - 3;
    expect(await secondsOf(grown)).toBe(refused ? null : await secondsOf(bytes));
  });

  it('in a sample of MP4 that has many packets', async () => {
    const bytes = sound('aac.m4a');
    const sizes = bytes.indexOf('stsz');
    bytes.writeUInt32BE(1, sizes + 12);
    bytes.writeUInt32BE(2_000, sizes + 16);
    bytes.writeUInt32BE(1, bytes.indexOf('stts') + 12);
    bytes.write('free', bytes.indexOf('edts'));
    expect(await secondsOf(bytes)).toBeNull();
  });

  it('in a track of MP4 that has a handler of its data', async () => {
    const bytes = sound('aac.m4a');
    const handler = Buffer.concat([size(20, true), Buffer.from('hdlr'), Buffer.alloc(8), Buffer.from('url ')]);
    const at = bytes.indexOf('stbl') - 4;
    const grown = Buffer.concat([bytes.subarray(0, at), handler, bytes.subarray(at)]);
    for (const box of ['moov', 'trak', 'mdia', 'minf'])
      grown.writeUInt32BE(grown.readUInt32BE(grown.indexOf(box) - 4) + handler.length, grown.indexOf(box) - 4);
    expect(await secondsOf(grown)).toBe(await secondsOf(bytes));
  });
});

function withBytes(bytes: Buffer, at: number, values: number[]): Buffer {
  bytes.set(values, at);
  return bytes;
}
