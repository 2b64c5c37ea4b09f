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
  ...['aac.m4a', 'fragments.mp4', 'opus.mp4'],
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
    for (const name of ['aac.m4a', 'opus.mp4']) {
      const bytes = sound(name);
      for (const [box, fields] of Object.entries({ mvhd: [16], mdhd: [16], tkhd: [20], stts: [12] })) {
        for (const field of fields) bytes.writeUInt32BE(1, bytes.indexOf(box) + 4 + field);
      }
      expect(await secondsOf(bytes)).toBe(await secondsOf(sound(name)));
    }
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

function withBytes(bytes: Buffer, at: number, values: number[]): Buffer {
  bytes.set(values, at);
  return bytes;
}
