/**
 * MP4 and M4A, fragmented ones too: how many samples (packets) its tracks of sound have, times what one of the codec plays; or
 * what their tables of times and of edits add up to, where that is more. Durations that it states as a whole are not believed.
 */
import { bytesPerSecond, codecOf, type Mp4Codec } from './mp4-codec.ts';
import type { FileWindow } from './window.ts';

/** Boxes that hold others: they are stepped into. */
const HOLDERS = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl', 'edts', 'moof', 'traf', 'mvex']);
const MOST_BOXES = 200_000;
const MOST_TABLE_ENTRIES = 2_000_000;
const MOST_ENTRY_BYTES = 64 * 1024;
const MOST_TRACKS = 100;
const TABLE_BYTES = 64 * 1024;
/** Samples must be so much of the data: more of what none of them is, is not understood. */
const LEAST_SHARE = 0.5;

class Mp4Track {
  id = 0;
  isSound = false;
  timescale = 0;
  codec: Mp4Codec | null = null;
  /** A second description would be another one's to some players. */
  isDescribed = false;
  samples = 0;
  bytes = 0;
  /** Bytes of its largest sample. */
  largest = 0;
  /** In units of its timescale. */
  time = 0;
  /** In those of the movie. */
  edited = 0;
  defaults = { duration: 0, size: 0 };

  /** Notes samples of so many bytes each. */
  hold(bytes: number, samples: number): void {
    this.bytes += bytes * samples;
    if (samples > 0) this.largest = Math.max(this.largest, bytes);
  }

  seconds(movieScale: number): number | null {
    if (this.codec === null) return null;
    const { mostBytes } = this.codec;
    // A player plays all packets that it finds in one sample.
    if (mostBytes !== undefined && this.largest > mostBytes) return null;
    const rate = bytesPerSecond(this.codec);
    const decoded =
      rate === null ? (this.samples * this.codec.samplesPerPacket) / this.codec.sampleRate : this.bytes / rate;
    const times = this.timescale > 0 ? this.time / this.timescale : 0;
    return Math.max(decoded, times, movieScale > 0 ? this.edited / movieScale : 0);
  }
}

/** Seconds of its longest track of sound; `null`: not told by its bytes. */
export async function mp4Seconds(file: FileWindow): Promise<number | null> {
  const walk = new Mp4Walk(file);
  let boxes = 0;
  for (let at = 0; at + 8 <= file.length; ) {
    const head = await file.at(at, 16);
    const type = head.toString('latin1', 4, 8);
    const small = head.readUInt32BE(0);
    if (small === 1 && head.length < 16) return null;
    const headBytes = small === 1 ? 16 : 8;
    const size = small === 1 ? Number(head.readBigUInt64BE(8)) : small === 0 ? file.length - at : small;
    if (size < headBytes || ++boxes > MOST_BOXES) return null;
    if (HOLDERS.has(type)) walk.enter(type);
    else await walk.read(type, at + headBytes, Math.min(at + size, file.length));
    at += HOLDERS.has(type) ? headBytes : size;
  }
  return walk.seconds();
}

class Mp4Walk {
  readonly #file: FileWindow;
  readonly #tracks: Mp4Track[] = [];
  #current = new Mp4Track();
  #movieScale = 0;
  #data = 0;
  #unread = false;

  constructor(file: FileWindow) {
    this.#file = file;
  }

  seconds(): number | null {
    const sounds = this.#tracks.filter(({ isSound }) => isSound);
    const held = this.#tracks.reduce((sum, { bytes }) => sum + bytes, 0);
    if (this.#unread || sounds.length === 0 || held < this.#data * LEAST_SHARE) return null;
    const seconds = sounds.map((track) => track.seconds(this.#movieScale));
    return seconds.includes(null) ? null : Math.max(...(seconds as number[]));
  }

  enter(type: string): void {
    if (type !== 'trak') return;
    this.#current = new Mp4Track();
    if (this.#tracks.push(this.#current) > MOST_TRACKS) this.#unread = true;
  }

  async read(type: string, start: number, end: number): Promise<void> {
    const reader = READERS[type];
    if (type === 'mdat') this.#data += end - start;
    else if (TABLES.has(type)) await this.#table(type, start, end);
    else if (reader !== undefined) {
      const body = await this.#file.at(start, Math.min(end - start, MOST_ENTRY_BYTES));
      // A box that is cut short says nothing.
      if (body.length >= reader.least) reader.read(body, this.#current, this);
    }
  }

  set movieScale(scale: number) {
    this.#movieScale = scale;
  }

  /** The track that a fragment is of. */
  select(id: number): Mp4Track {
    const found = this.#tracks.find((track) => track.id === id);
    if (found !== undefined) this.#current = found;
    return this.#current;
  }

  /** A table of entries, which may be larger than what is read at once. */
  async #table(type: string, start: number, end: number): Promise<void> {
    const head = await this.#file.at(start, 20);
    if (head.length < 8) return;
    const table = TABLES.get(type)!(head, this.#current);
    if (table === null) return;
    const { count, at, bytes, take } = table;
    if (count > MOST_TABLE_ENTRIES) this.#unread = true;
    const per = Math.floor(TABLE_BYTES / bytes);
    for (let done = 0; done < Math.min(count, MOST_TABLE_ENTRIES); done += per) {
      const from = start + at + done * bytes;
      const some = await this.#file.at(from, Math.min(per, count - done) * bytes);
      for (let i = 0; i + bytes <= some.length && from + i + bytes <= end; i += bytes) take(some, i);
      if (some.length === 0) return;
    }
  }
}

interface Table {
  count: number;
  at: number;
  bytes: number;
  take(bytes: Buffer, at: number): void;
}

/** Tables by their boxes, of which these are the first bytes. `null`: there is no more to it. */
const TABLES: ReadonlyMap<string, (head: Buffer, track: Mp4Track) => Table | null> = new Map([
  [
    'stts',
    (head, track) => ({
      count: head.readUInt32BE(4),
      at: 8,
      bytes: 8,
      take: (bytes, at) => {
        track.time += bytes.readUInt32BE(at) * bytes.readUInt32BE(at + 4);
      },
    }),
  ],
  [
    'stsz',
    (head, track) => {
      const [each, count] = [head.readUInt32BE(4), head.length >= 12 ? head.readUInt32BE(8) : 0];
      track.samples += count;
      track.hold(each, count);
      if (each > 0) return null;
      return {
        count,
        at: 12,
        bytes: 4,
        take: (bytes, at) => track.hold(bytes.readUInt32BE(at), 1),
      };
    },
  ],
  [
    'elst',
    (head, track) => {
      const wide = head[0] === 1;
      const take = (bytes: Buffer, at: number): void => {
        track.edited += wide ? Number(bytes.readBigUInt64BE(at)) : bytes.readUInt32BE(at);
      };
      return { count: head.readUInt32BE(4), at: 8, bytes: wide ? 20 : 12, take };
    },
  ],
  ['trun', runOf],
]);

/** The samples of a fragment: each field of one is there only where a flag says so. */
function runOf(head: Buffer, track: Mp4Track): Table {
  const flags = head.readUIntBE(1, 3);
  const count = head.readUInt32BE(4);
  const [duration, size] = [(flags & 0x100) !== 0, (flags & 0x200) !== 0];
  const fields = [duration, size, (flags & 0x400) !== 0, (flags & 0x800) !== 0].filter(Boolean).length;
  track.samples += count;
  if (!duration) track.time += count * track.defaults.duration;
  if (!size) track.hold(track.defaults.size, count);
  const at = 8 + ((flags & 1) !== 0 ? 4 : 0) + ((flags & 4) !== 0 ? 4 : 0);
  const take = (bytes: Buffer, from: number): void => {
    if (duration) track.time += bytes.readUInt32BE(from);
    if (size) track.hold(bytes.readUInt32BE(from + (duration ? 4 : 0)), 1);
  };
  return { count: fields === 0 ? 0 : count, at, bytes: Math.max(4, fields * 4), take };
}

interface BoxReader {
  least: number;
  read(body: Buffer, track: Mp4Track, walk: Mp4Walk): void;
}

/** Where the version of a box is 1, its times have eight bytes. */
const scaleAt = (body: Buffer): number => body.readUInt32BE(body[0] === 1 ? 20 : 12);

const READERS: Readonly<Record<string, BoxReader>> = {
  mvhd: {
    least: 24,
    read: (body, _track, walk) => {
      walk.movieScale = scaleAt(body);
    },
  },
  mdhd: {
    least: 24,
    read: (body, track) => {
      track.timescale = scaleAt(body);
    },
  },
  tkhd: {
    least: 24,
    read: (body, track) => {
      track.id = body.readUInt32BE(body[0] === 1 ? 20 : 12);
    },
  },
  hdlr: {
    least: 12,
    read: (body, track) => {
      // Other handlers within a track tell of its data.
      track.isSound ||= body.toString('latin1', 8, 12) === 'soun';
    },
  },
  stsd: {
    least: 16,
    read: (body, track) => {
      track.codec = track.isDescribed ? null : codecOf(body);
      track.isDescribed = true;
    },
  },
  trex: { least: 24, read: (body, _track, walk) => readDefaults(walk.select(body.readUInt32BE(4)), body, 12, 3) },
  tfhd: { least: 8, read: readFragmentHead },
};

/** `which`: 1: a duration is there, 2: a size. */
function readDefaults(track: Mp4Track, body: Buffer, from: number, which: number): void {
  let at = from;
  if ((which & 1) !== 0 && at + 4 <= body.length) track.defaults.duration = body.readUInt32BE(at);
  if ((which & 1) !== 0) at += 4;
  if ((which & 2) !== 0 && at + 4 <= body.length) track.defaults.size = body.readUInt32BE(at);
}

function readFragmentHead(body: Buffer, _track: Mp4Track, walk: Mp4Walk): void {
  const flags = body.readUIntBE(1, 3);
  const at = 8 + ((flags & 1) !== 0 ? 8 : 0) + ((flags & 2) !== 0 ? 4 : 0);
  readDefaults(walk.select(body.readUInt32BE(4)), body, at, ((flags & 8) !== 0 ? 1 : 0) + ((flags & 16) !== 0 ? 2 : 0));
}
