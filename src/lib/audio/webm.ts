/** WebM: the packets of its Opus and Vorbis tracks, each counted by what it plays. Durations and times that it states are not believed. */
import { MOST_OPUS_SECONDS, opusSeconds, VorbisClock, vorbisModes } from './packets.ts';
import type { FileWindow } from './window.ts';

/** Elements that hold others: they are stepped into, whatever size they state. */
const HOLDERS: ReadonlySet<number> = new Set([0x18538067, 0x1f43b675, 0x1654ae6b, 0xa0]);
const TRACK_ENTRY = 0xae;
const SIMPLE_BLOCK = 0xa3;
const BLOCK = 0xa1;
const [TRACK_NUMBER, TRACK_TYPE, CODEC_ID, CODEC_PRIVATE, ENCODINGS] = [0xd7, 0x83, 0x86, 0x63a2, 0x6d80];
const READ: ReadonlySet<number> = new Set([TRACK_NUMBER, TRACK_TYPE, CODEC_ID, CODEC_PRIVATE, ENCODINGS]);
const VIDEO = 1;
const AUDIO = 2;
const MOST_PRIVATE_BYTES = 256 * 1024;
const MOST_TRACKS = 100;
const LACED = 0x06;
/** Sound must be so much of a file that has no pictures. */
const LEAST_SHARE = 0.5;

interface Track {
  number: number;
  type: number;
  codec: string;
  encoded: boolean;
  /** What it is depends on who reads it. */
  isUnclear: boolean;
  seconds: number;
  vorbis: VorbisClock | null;
}

/** Seconds of its longest track of sound; `null`: not told by its bytes. */
export async function webmSeconds(file: FileWindow): Promise<number | null> {
  const tracks = new Map<number, Track>();
  let understood = 0;
  for (let at = 0; at < file.length; ) {
    const element = elementIn(await file.at(at, 12));
    if (element === null) return null;
    const start = at + element.head;
    if (HOLDERS.has(element.id)) {
      at = start;
      continue;
    }
    if (element.size === null) return null;
    if (element.id === TRACK_ENTRY) {
      if (element.size > MOST_PRIVATE_BYTES || tracks.size >= MOST_TRACKS) return null;
      const track = trackIn(await file.at(start, element.size));
      // The first stands for players: what was heard of it must not be forgotten.
      if (track.isUnclear || tracks.has(track.number)) return null;
      tracks.set(track.number, track);
    } else if (element.id === SIMPLE_BLOCK || element.id === BLOCK) {
      hear(tracks, await file.at(start, 16));
      understood += element.size;
    }
    at = start + element.size;
  }
  const all = [...tracks.values()];
  const heard = all.filter(({ type }) => type === AUDIO);
  if (heard.length === 0 || heard.some((track) => track.encoded || !isUnderstood(track))) return null;
  if (!all.some(({ type }) => type === VIDEO) && understood < file.length * LEAST_SHARE) return null;
  return Math.max(...heard.map(({ seconds, vorbis }) => vorbis?.seconds ?? seconds));
}

function isUnderstood({ codec, vorbis }: Track): boolean {
  return codec === 'A_OPUS' || (codec === 'A_VORBIS' && vorbis !== null);
}

/** A block says which track it is of; a packet begins after its four or more bytes. */
function hear(tracks: ReadonlyMap<number, Track>, block: Buffer): void {
  const number = numberIn(block, 0, false);
  const track = number === null ? undefined : tracks.get(number.value ?? -1);
  if (number === null || track === undefined) return;
  const at = number.bytes + 3;
  const isLaced = ((block[at - 1] ?? 0) & LACED) !== 0;
  // Several packets in one block: the first does not speak for the others.
  const packets = isLaced ? (block[at] ?? 0) + 1 : 1;
  if (isLaced) {
    track.seconds += packets * MOST_OPUS_SECONDS;
    track.encoded ||= track.vorbis !== null;
  } else if (track.vorbis !== null) track.vorbis.packet(block.subarray(at));
  else track.seconds += opusSeconds(block.subarray(at));
}

function trackIn(entry: Buffer): Track {
  const track: Track = { number: -1, type: 0, codec: '', encoded: false, isUnclear: true, seconds: 0, vorbis: null };
  let privates: Buffer = Buffer.alloc(0);
  const seen = new Set<number>();
  for (let at = 0; at < entry.length; ) {
    const element = elementIn(entry.subarray(at));
    // Which of two stands, and what follows what is no element, is up to who reads it.
    if (element === null || element.size === null || (seen.has(element.id) && READ.has(element.id))) return track;
    seen.add(element.id);
    const value = entry.subarray(at + element.head, at + element.head + element.size);
    if (element.id === TRACK_NUMBER) track.number = wholeIn(value);
    else if (element.id === TRACK_TYPE) track.type = wholeIn(value);
    else if (element.id === CODEC_ID) track.codec = value.toString('latin1').replace(/\0+$/, '');
    else if (element.id === CODEC_PRIVATE) privates = value;
    else if (element.id === ENCODINGS) track.encoded = true;
    at += element.head + element.size;
  }
  track.isUnclear = track.number < 0 || track.type < 0;
  if (track.codec === 'A_VORBIS') track.vorbis = vorbisIn(privates);
  return track;
}

/** The three headers, one behind the other, after a count and the lengths of the first two. */
function vorbisIn(headers: Buffer): VorbisClock | null {
  let at = 1;
  const length = (): number => {
    let sum = 0;
    while (at < headers.length && headers[at] === 255) sum += headers[at++]!;
    return sum + (headers[at++] ?? 0);
  };
  const [first, second] = [length(), length()];
  const modes = vorbisModes(headers.subarray(at, at + first), headers.subarray(at + first + second));
  return modes === null ? null : new VorbisClock(modes);
}

/** A number of up to eight bytes, of which the first may be zeros. */
function wholeIn(value: Buffer): number {
  const zeros = Math.max(0, value.length - 6);
  if (value.length < 1 || value.length > 8 || value.subarray(0, zeros).some((byte) => byte !== 0)) return -1;
  return value.readUIntBE(zeros, value.length - zeros);
}

/** An element's id, the bytes of its head, and its size; `null` of a size: it is not known when it is begun. */
function elementIn(bytes: Buffer): { id: number; head: number; size: number | null } | null {
  const id = numberIn(bytes, 0, true);
  const size = id === null || id.bytes > 4 ? null : numberIn(bytes, id.bytes, false);
  if (id === null || size === null) return null;
  return { id: id.value!, head: id.bytes + size.bytes, size: size.value };
}

/** A number whose first byte says how many it has; `marked`: that mark is part of it. A value of all ones is `null`. */
function numberIn(bytes: Buffer, at: number, marked: boolean): { value: number | null; bytes: number } | null {
  const first = bytes[at];
  if (first === undefined || first === 0) return null;
  const length = Math.clz32(first) - 23;
  if (at + length > bytes.length) return null;
  const mark = 0x80 >> (length - 1);
  let value = marked ? first : first & (mark - 1);
  let ones = (first & (mark - 1)) === mark - 1;
  for (let i = 1; i < length; i++) {
    value = value * 256 + bytes[at + i]!;
    ones &&= bytes[at + i] === 255;
  }
  return { value: ones && !marked ? null : value, bytes: length };
}
