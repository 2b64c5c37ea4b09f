/**
 * Ogg: the packets of its Opus and Vorbis streams, each counted by what it plays. The positions that its pages state are not
 * believed. Streams that follow one another are added up.
 */
import { opusSeconds, VorbisClock, vorbisModes } from './packets.ts';
import type { FileWindow } from './window.ts';

const PAGE = Buffer.from('OggS');
const PAGE_BYTES = 27;
const MOST_STREAMS = 1_000;
/** A setup of Vorbis is some KB. */
const MOST_HEADER_BYTES = 256 * 1024;
const VORBIS_HEADERS = 3;
const OPUS_HEADERS = 2;
const SEARCH_BYTES = 64 * 1024;
/** Streams without sound, by their first bytes: of what is in the file, and of pictures. */
const SILENT: ReadonlySet<string> = new Set(['fishead', '\x80theora', '\x80kate\0\0']);
/** Sound must be so much of a file: more of what is no sound is not understood. */
const LEAST_SHARE = 0.5;

/** One logical stream. */
class OggStream {
  #kind: 'opus' | 'vorbis' | 'silent' | 'other' | null = null;
  #packets = 0;
  #skipped = 0;
  #opus = 0;
  #vorbis: VorbisClock | null = null;
  #headers: Buffer[] = [];
  /** The beginning of a packet that goes on in the next page. */
  rest: Buffer | null = null;

  /** Whether a player may hear something in it that is not counted here. */
  get isUnknown(): boolean {
    return this.#kind === 'other' || (this.#kind !== 'silent' && this.#kind !== null && this.seconds === null);
  }

  /** `null`: it is no sound, or one that is not understood. */
  get seconds(): number | null {
    if (this.#kind === 'opus') return Math.max(0, this.#opus - this.#skipped);
    return this.#kind === 'vorbis' ? (this.#vorbis?.seconds ?? null) : null;
  }

  /** Whether all of a packet is needed, and not its first bytes alone. */
  get isHeader(): boolean {
    return this.#kind === null || (this.#kind === 'vorbis' && this.#packets < VORBIS_HEADERS);
  }

  packet(packet: Buffer): void {
    const index = this.#packets++;
    if (index === 0) this.#begin(packet);
    else if (this.#kind === 'opus' && index >= OPUS_HEADERS) this.#opus += opusSeconds(packet);
    else if (this.#kind === 'vorbis' && index >= VORBIS_HEADERS) this.#vorbis?.packet(packet);
    else if (this.#kind === 'vorbis') {
      this.#headers.push(packet);
      if (index < VORBIS_HEADERS - 1) return;
      const modes = vorbisModes(this.#headers[0]!, packet);
      if (modes !== null) this.#vorbis = new VorbisClock(modes);
      this.#headers = [];
    }
  }

  #begin(packet: Buffer): void {
    if (packet.toString('latin1', 0, 8) === 'OpusHead' && packet.length >= 12) {
      this.#kind = 'opus';
      this.#skipped = packet.readUInt16LE(10) / 48_000;
    } else if (packet.toString('latin1', 0, 7) === '\x01vorbis') {
      this.#kind = 'vorbis';
      this.#headers.push(Buffer.from(packet));
    } else this.#kind = SILENT.has(packet.toString('latin1', 0, 7)) ? 'silent' : 'other';
  }
}

/** Seconds; `null`: not told by its bytes. */
export async function oggSeconds(file: FileWindow): Promise<number | null> {
  const streams = new Map<string, OggStream>();
  const ended: OggStream[] = [];
  let understood = 0;
  for (let at = 0; at + PAGE_BYTES <= file.length; ) {
    const head = await file.at(at, PAGE_BYTES + 255);
    if (!head.subarray(0, 4).equals(PAGE)) {
      at = await nextPage(file, at + 1);
      continue;
    }
    const table = head.subarray(PAGE_BYTES, PAGE_BYTES + head[26]!);
    const size = table.reduce((sum, bytes) => sum + bytes, 0);
    const start = at + PAGE_BYTES + head[26]!;
    const [flags, serial] = [head[5]!, head.toString('latin1', 14, 18)];
    const isFirst = (flags & 2) !== 0;
    if (isFirst && streams.has(serial)) ended.push(streams.get(serial)!);
    const stream = (isFirst ? null : streams.get(serial)) ?? new OggStream();
    streams.set(serial, stream);
    if (streams.size + ended.length > MOST_STREAMS) return null;
    understood += readPage(stream, Buffer.from(table), (flags & 1) !== 0, await file.at(start, size));
    at = start + size;
  }
  let sum: number | null = null;
  const all = [...ended, ...streams.values()];
  // A player chooses among several, and not by how much of the file each is.
  if (all.some(({ isUnknown }) => isUnknown)) return null;
  for (const { seconds } of all) if (seconds !== null) sum = (sum ?? 0) + seconds;
  return understood >= file.length * LEAST_SHARE ? sum : null;
}

/** Hands a stream the packets of a page; returns how many bytes of a sound they were. */
function readPage(stream: OggStream, table: Buffer, continues: boolean, body: Buffer): number {
  let [at, start] = [0, 0];
  let held = continues ? stream.rest : null;
  stream.rest = null;
  for (let i = 0; i < table.length; i++) {
    at += table[i]!;
    const ends = table[i]! < 255;
    if (!ends && i < table.length - 1) continue;
    const most = stream.isHeader ? MOST_HEADER_BYTES : 2;
    const part = body.subarray(start, Math.min(at, start + most));
    const packet = held === null ? part : Buffer.concat([held, part]).subarray(0, most);
    if (ends) stream.packet(packet);
    else stream.rest = Buffer.from(packet);
    held = null;
    start = at;
  }
  return stream.seconds === null && !stream.isHeader ? 0 : body.length;
}

async function nextPage(file: FileWindow, from: number): Promise<number> {
  for (let at = from; at < file.length; at += SEARCH_BYTES - PAGE.length) {
    const found = (await file.at(at, SEARCH_BYTES)).indexOf(PAGE);
    if (found >= 0) return at + found;
  }
  return file.length;
}
