/** FLAC: its frames, found by their headers and the checksums of these. How many samples its first block states is not believed. */
import type { FileWindow } from './window.ts';

const STREAM_INFO_BYTES = 34;
/** Of a frame: at most. */
const HEADER_BYTES = 16;
const SEARCH_BYTES = 64 * 1024;
const MOST_BLOCKS = 1_000;
/** Hz, by the code in a frame's header. */
const SAMPLE_RATES = [0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];
/** Headers that stand in the sound by chance: fewer than one in so many frames, and these. */
const CHANCE = 1_000;
const MOST_BY_CHANCE = 2;

interface FlacFrame {
  seconds: number;
  /** Of the frame, or of its first sample. */
  number: number;
}

/** Seconds; `null`: not told by its bytes. */
export async function flacSeconds(file: FileWindow): Promise<number | null> {
  const info = await file.at(8, STREAM_INFO_BYTES);
  if (info.length < STREAM_INFO_BYTES) return null;
  const sampleRate = info.readUIntBE(10, 3) >> 4;
  let last = -1;
  const [inOrder, others] = [
    { count: 0, seconds: 0 },
    { count: 0, seconds: 0 },
  ];
  for (let at = await afterBlocks(file); at + 2 < file.length; ) {
    const bytes = await file.at(at, SEARCH_BYTES);
    const found = bytes.indexOf(0xff);
    if (found < 0) {
      at += bytes.length;
      continue;
    }
    at += found;
    const next = bytes[found + 1];
    // Most are no frames: those are not read again.
    if (next !== undefined && (next & 0xfe) !== 0xf8) {
      at++;
      continue;
    }
    const frame = frameIn(await file.at(at, HEADER_BYTES), sampleRate);
    at++;
    if (frame === null) continue;
    const follows = frame.number > last;
    const sum = follows ? inOrder : others;
    sum.count++;
    sum.seconds += frame.seconds;
    if (follows) last = frame.number;
  }
  const byChance = others.count <= MOST_BY_CHANCE + inOrder.count / CHANCE;
  const seconds = inOrder.seconds + (byChance ? 0 : others.seconds);
  return inOrder.count === 0 ? null : seconds;
}

/** Where the frames begin: after the blocks of what is said about them. */
async function afterBlocks(file: FileWindow): Promise<number> {
  let at = 4;
  for (let blocks = 0; blocks < MOST_BLOCKS; blocks++) {
    const head = await file.at(at, 4);
    if (head.length < 4) return file.length;
    at += 4 + head.readUIntBE(1, 3);
    if (head[0]! >= 0x80) break;
  }
  return at;
}

function frameIn(bytes: Buffer, streamRate: number): FlacFrame | null {
  if (bytes.length < 6 || bytes[0] !== 0xff || (bytes[1]! & 0xfe) !== 0xf8) return null;
  const [sizeCode, rateCode] = [bytes[2]! >> 4, bytes[2]! & 15];
  if (sizeCode === 0 || rateCode === 15 || bytes[3]! >> 4 > 10 || (bytes[3]! & 1) !== 0) return null;
  const length = bytes[4]! < 0x80 ? 1 : Math.clz32(~(bytes[4]! << 24));
  if (length > 7 || (length === 1 && bytes[4]! >= 0x80)) return null;
  let number = length === 1 ? bytes[4]! : bytes[4]! & (0x7f >> length);
  for (let i = 1; i < length; i++) number = number * 64 + ((bytes[4 + i] ?? 0) & 0x3f);
  let at = 4 + length;
  const extra = (count: number): number => {
    if (at + count > bytes.length) return 0;
    at += count;
    return bytes.readUIntBE(at - count, count);
  };
  const samples = sizeCode === 6 ? extra(1) + 1 : sizeCode === 7 ? extra(2) + 1 : blockOf(sizeCode);
  const rate =
    rateCode === 12
      ? extra(1) * 1_000
      : rateCode === 13
        ? extra(2)
        : rateCode === 14
          ? extra(2) * 10
          : SAMPLE_RATES[rateCode];
  if (at >= bytes.length || crc8(bytes.subarray(0, at)) !== bytes[at]) return null;
  const hertz = rate || streamRate;
  return hertz === 0 ? null : { seconds: samples / hertz, number };
}

function blockOf(code: number): number {
  if (code === 1) return 192;
  return code < 6 ? 576 << (code - 2) : 256 << (code - 8);
}

function crc8(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc & 0x80) !== 0 ? ((crc << 1) ^ 0x07) & 255 : crc << 1;
  }
  return crc;
}
