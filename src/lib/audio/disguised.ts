/**
 * Packed sound in a file that says its samples are plain. FFmpeg, which providers decode with, looks into 16-bit samples for it, and
 * plays what it finds: up to two hundred times as long as plain samples of as many bytes.
 */
import { mpegFrame } from './mp3.ts';
import type { FileWindow } from './window.ts';

const PIECE_BYTES = 64 * 1024;
/** What a chain of frames may go on in behind its piece. */
const OVERLAP_BYTES = 32 * 1024;
const HEADER_BYTES = 8;
const ADTS_RATES = 13;
const AC3_KBITS = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/** DTS that is packed by 14 bits begins so, in one byte order or the other. */
const DTS_14 = [Buffer.from('1fffe80007', 'hex'), Buffer.from('ff1f00e8f107', 'hex')];

/** Bytes of the frame that begins there; 0: none does. */
type FrameLength = (bytes: Buffer, at: number) => number;

const mpegLength: FrameLength = (bytes, at) => mpegFrame(bytes, at)?.length ?? 0;
/** Their marks are so short that they stand in all sound: so many frames, one behind the other, are no chance. Players believe no fewer. */
const SHORT_MARKED: readonly FrameLength[] = [mpegLength, adtsLength, loasLength];
const SHORT_CHAIN = 16;
/** Those with longer marks. */
const MARKED: readonly { mark: Buffer; lengthOf: FrameLength; chain: number }[] = [
  { mark: Buffer.from([0x0b, 0x77]), lengthOf: ac3Length, chain: 4 },
  { mark: Buffer.from([0x7f, 0xfe, 0x80, 0x01]), lengthOf: dtsLength, chain: 2 },
];
const ALL = [...SHORT_MARKED, ...MARKED.map(({ lengthOf }) => lengthOf)];
/** Where the samples begin, fewer do. */
const CHAIN_AT_START = 3;

/** Whether the samples of a range are packed sound to a player. */
export async function isDisguised(file: FileWindow, start: number, end: number): Promise<boolean> {
  let isSilent = true;
  for (let at = start; at < end; at += PIECE_BYTES) {
    const bytes: Buffer = await file.at(at, Math.min(PIECE_BYTES + OVERLAP_BYTES, end - at));
    // Silence before it is passed over.
    const first: number = isSilent ? firstSound(bytes) : -1;
    isSilent &&= first < 0;
    if (first >= 0 && ALL.some((lengthOf) => chained(bytes, first, lengthOf, CHAIN_AT_START))) return true;
    if (!isSilent && hasPacked(bytes)) return true;
  }
  return false;
}

function firstSound(bytes: Buffer): number {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return at;
  return -1;
}

function hasPacked(bytes: Buffer): boolean {
  if (DTS_14.some((mark) => bytes.includes(mark)) || hasShortMarked(bytes) || hasMarked(bytes)) return true;
  return hasMarked(Buffer.from(bytes.subarray(0, bytes.length - (bytes.length % 2))).swap16());
}

/** Quiet sound and silence are full of the first byte: what cannot follow it is seen at once. */
function hasShortMarked(bytes: Buffer): boolean {
  const end = Math.min(PIECE_BYTES, bytes.length - HEADER_BYTES);
  for (let at = 0; at < end; at++) {
    const first = bytes[at];
    if ((first !== 0xff && first !== 0x56) || bytes[at + 1]! < 0xe0 || (first === 0xff && bytes[at + 2]! >= 0xf4))
      continue;
    if (SHORT_MARKED.some((lengthOf) => chained(bytes, at, lengthOf, SHORT_CHAIN))) return true;
  }
  return false;
}

function hasMarked(bytes: Buffer): boolean {
  return MARKED.some(({ mark, lengthOf, chain }) => {
    for (let at = bytes.indexOf(mark); at >= 0 && at < PIECE_BYTES; at = bytes.indexOf(mark, at + 1)) {
      if (chained(bytes, at, lengthOf, chain)) return true;
    }
    return false;
  });
}

function chained(bytes: Buffer, start: number, lengthOf: FrameLength, frames: number): boolean {
  let at = start;
  for (let i = 0; i < frames; i++) {
    const length = at + HEADER_BYTES <= bytes.length ? lengthOf(bytes, at) : 0;
    if (length < HEADER_BYTES) return false;
    at += length;
  }
  return true;
}

function adtsLength(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0xff || (bytes[at + 1]! & 0xf6) !== 0xf0 || ((bytes[at + 2]! >> 2) & 15) >= ADTS_RATES) return 0;
  return ((bytes[at + 3]! & 3) << 11) | (bytes[at + 4]! << 3) | (bytes[at + 5]! >> 5);
}

function loasLength(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0x56 || (bytes[at + 1]! & 0xe0) !== 0xe0) return 0;
  return 3 + (((bytes[at + 1]! & 31) << 8) | bytes[at + 2]!);
}

/** AC-3 by a table; E-AC-3, from its eleventh kind on, says it itself. */
function ac3Length(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0x0b || bytes[at + 1] !== 0x77) return 0;
  if (bytes[at + 5]! >> 3 > 10) return 2 * ((((bytes[at + 2]! & 7) << 8) | bytes[at + 3]!) + 1);
  const [rate, size] = [bytes[at + 4]! >> 6, bytes[at + 4]! & 63];
  const kbits = AC3_KBITS[size >> 1] ?? 0;
  if (rate === 1) return 2 * (Math.floor((kbits * 96_000) / 44_100) + (size & 1));
  return rate === 3 ? 0 : kbits * (rate === 0 ? 4 : 6);
}

function dtsLength(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0x7f || bytes[at + 1] !== 0xfe || bytes[at + 2] !== 0x80 || bytes[at + 3] !== 1) return 0;
  return (((bytes[at + 5]! & 3) << 12) | (bytes[at + 6]! << 4) | (bytes[at + 7]! >> 4)) + 1;
}
