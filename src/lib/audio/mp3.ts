/**
 * MPEG audio (MP3, MP2, MPGA): every frame is counted, whatever a header says of how many there are. What lies between frames is
 * searched for more of them, as players do.
 */
import type { FileWindow } from './window.ts';

/** kbit/s by the index in a frame's header: of layers 1, 2 and 3 of MPEG 1; then of layer 1, and of 2 and 3, of MPEG 2 and 2.5. */
const BITRATES: readonly (readonly number[])[] = [
  [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
  [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/** Hz, by the version's two bits: 2.5, reserved, 2, 1. */
const SAMPLE_RATES: readonly (readonly number[])[] = [
  [11_025, 12_000, 8_000],
  [],
  [22_050, 24_000, 16_000],
  [44_100, 48_000, 32_000],
];
const MPEG_1 = 3;
/** Of a tag at the beginning: album covers are in it. */
const TAG_HEAD_BYTES = 10;
/** A frame that tells a player how many there are has no sound. */
const INFO = /Xing|Info|VBRI/;
const INFO_BYTES = 200;

export interface MpegFrame {
  /** Bytes, its header with them. */
  length: number;
  seconds: number;
}

/** The frame that a header of four bytes begins; `null`: it is none. */
export function mpegFrame(header: Buffer, at = 0): MpegFrame | null {
  if (at + 4 > header.length || header[at] !== 0xff) return null;
  const [second, third] = [header[at + 1]!, header[at + 2]!];
  if (second < 0xe0) return null;
  const [version, layer] = [(second >> 3) & 3, 4 - ((second >> 1) & 3)];
  const sampleRate = SAMPLE_RATES[version]![(third >> 2) & 3];
  if (layer === 4 || sampleRate === undefined) return null;
  const row = version === MPEG_1 ? layer - 1 : layer === 1 ? 3 : 4;
  const bitrate = (BITRATES[row]![third >> 4] ?? 0) * 1_000;
  if (bitrate === 0) return null;
  const samples = layer === 1 ? 384 : layer === 3 && version !== MPEG_1 ? 576 : 1_152;
  const padding = (third >> 1) & 1;
  const slot = layer === 1 ? 4 : 1;
  const length = Math.floor((samples * bitrate) / (8 * slot * sampleRate) + padding) * slot;
  return { length, seconds: samples / sampleRate };
}

/** Where the sound of a file begins: after its tags. */
async function afterTags(file: FileWindow): Promise<number> {
  for (let at = 0; ; ) {
    const head = await file.at(at, TAG_HEAD_BYTES);
    if (!isTag(head)) return at;
    const size = (head[6]! << 21) | (head[7]! << 14) | (head[8]! << 7) | head[9]!;
    at += TAG_HEAD_BYTES + size + (head[5]! & 0x10 ? TAG_HEAD_BYTES : 0);
  }
}

/** Seven bits of a byte are its size: what has another in it is no tag, and players look for sound in what it would pass over. */
function isTag(head: Buffer): boolean {
  if (head.length < TAG_HEAD_BYTES || head.toString('latin1', 0, 3) !== 'ID3') return false;
  return head[3] !== 0xff && head[4] !== 0xff && head.subarray(6, 10).every((byte) => byte < 0x80);
}

/** Whether a file is MPEG audio: after its tags, two frames stand one behind the other. */
export async function isMpeg(file: FileWindow): Promise<boolean> {
  const start = await afterTags(file);
  const first = mpegFrame(await file.at(start, 4));
  if (first === null) return false;
  const next = start + first.length;
  return next >= file.length || mpegFrame(await file.at(next, 4)) !== null;
}

/** Seconds; `null`: there are no frames. */
export async function mpegSeconds(file: FileWindow): Promise<number | null> {
  const start = await afterTags(file);
  let seconds = 0;
  for (let at = start; at + 4 <= file.length; ) {
    let head = file.at(at, 4);
    if (head instanceof Promise) head = await head;
    const frame = mpegFrame(head);
    if (frame === null) {
      at = await nextSync(file, at + 1);
      continue;
    }
    const isInfo = at === start && INFO.test((await file.at(at, INFO_BYTES)).toString('latin1'));
    if (!isInfo) seconds += frame.seconds;
    at += frame.length;
  }
  return seconds === 0 ? null : seconds;
}

const SEARCH_BYTES = 4_096;

/** The next offset at which a frame may begin. */
async function nextSync(file: FileWindow, from: number): Promise<number> {
  for (let at = from; at < file.length; at += SEARCH_BYTES) {
    const found = (await file.at(at, SEARCH_BYTES)).indexOf(0xff);
    if (found >= 0) return at + found;
  }
  return file.length;
}
