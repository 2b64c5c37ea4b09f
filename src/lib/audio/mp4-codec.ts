/** What a packet of a track of MP4 plays, by what its codec says of itself: AAC, ALAC and plain samples. */

export interface Mp4Codec {
  /** Hz of the decoder, which is what counts, and no clock of the file. */
  sampleRate: number;
  samplesPerPacket: number;
  /** Bytes of a moment of all channels, where its samples are plain. */
  plainBytes: number | null;
  /** A larger sample has several packets in it; absent: none has. */
  mostBytes?: number;
}

const AAC_RATES = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];
/** By its number in the configuration; others are described elsewhere. */
const CHANNELS: readonly (number | undefined)[] = [undefined, 1, 2, 3, 4, 5, 6, 8];
const MOST_CHANNELS = 8;
/** The standard lets no packet have more than 6,144 bits of a channel. */
const AAC_BYTES_PER_CHANNEL = 768;
const PLAIN = new Set(['sowt', 'twos', 'lpcm', 'ipcm', 'in24', 'in32', 'fl32', 'fl64', 'raw ', 'alaw', 'ulaw']);
const AAC_OBJECTS = new Set([0x40, 0x66, 0x67, 0x68]);

/** Bytes of a second of plain samples; `null`: they are packets. */
export function bytesPerSecond({ sampleRate, plainBytes }: Mp4Codec): number | null {
  return plainBytes === null ? null : plainBytes * sampleRate;
}

/**
 * Of the description of a track's samples; `null`: of another codec, encrypted, or of several. Opus is another: a packet of it plays
 * 2.5 to 120 ms, which only the packet says, and packets are not looked at here.
 */
export function codecOf(description: Buffer): Mp4Codec | null {
  const entry = description.subarray(8);
  if (description.readUInt32BE(4) !== 1 || entry.length < 36) return null;
  const kind = entry.toString('latin1', 4, 8);
  const [channels, bits, rate] = [entry.readUInt16BE(24), entry.readUInt16BE(26), entry.readUInt16BE(32)];
  if (PLAIN.has(kind)) {
    const bytes = kind === 'alaw' || kind === 'ulaw' ? 1 : bits / 8;
    return rate === 0 || channels === 0 || bytes < 1
      ? null
      : { sampleRate: rate, samplesPerPacket: 1, plainBytes: channels * bytes };
  }
  if (kind === 'alac') return alacIn(entry);
  return kind === 'mp4a' ? mp4aIn(entry) : null;
}

function alacIn(entry: Buffer): Mp4Codec | null {
  const at = entry.indexOf('alac', 8, 'latin1');
  if (at < 0 || at + 32 > entry.length) return null;
  const cookie = entry.subarray(at + 8);
  const [samplesPerPacket, sampleRate] = [cookie.readUInt32BE(0), cookie.readUInt32BE(20)];
  return samplesPerPacket === 0 || sampleRate === 0 ? null : { sampleRate, samplesPerPacket, plainBytes: null };
}

/** What the descriptors in `esds` say: which codec, and of AAC how it is decoded. */
function mp4aIn(entry: Buffer): Mp4Codec | null {
  const at = entry.indexOf('esds', 8, 'latin1');
  if (at < 0) return null;
  const config = descriptor(entry, at + 8, 0x04, 3);
  const object = config?.[0];
  if (config === null || object === undefined) return null;
  const specific = AAC_OBJECTS.has(object) ? descriptor(config, 13, 0x05, 0) : null;
  return specific === null ? null : aacIn(specific);
}

/** The value of a descriptor of this tag, which may stand in another whose own fields are `skipped` bytes. */
function descriptor(bytes: Buffer, from: number, tag: number, skipped: number): Buffer | null {
  let at = from;
  while (at < bytes.length) {
    const found = bytes[at++];
    let length = 0;
    for (let more = true, i = 0; more && i < 4; i++) {
      const byte = bytes[at++] ?? 0;
      length = length * 128 + (byte & 127);
      more = (byte & 128) !== 0;
    }
    if (found === tag) return bytes.subarray(at, at + length);
    // Of the first, that holds the others, only its own fields are passed over.
    at += found === 0x03 ? skipped : length;
  }
  return null;
}

function aacIn(specific: Buffer): Mp4Codec | null {
  let position = 0;
  const bits = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++, position++)
      value = value * 2 + (((specific[position >> 3] ?? 0) >> (7 - (position & 7))) & 1);
    return value;
  };
  const object = (): number => {
    const value = bits(5);
    return value === 31 ? 32 + bits(6) : value;
  };
  const frequency = (): number => {
    const index = bits(4);
    return index === 15 ? bits(24) : (AAC_RATES[index] ?? 0);
  };
  const type = object();
  // What extends a plain stream is decoded at twice the rate, and twice the samples.
  const sampleRate = frequency();
  const channels = CHANNELS[bits(4)] ?? MOST_CHANNELS;
  if (type === 5 || type === 29) {
    frequency();
    object();
  }
  const samplesPerPacket = bits(1) === 1 ? 960 : 1_024;
  return sampleRate === 0
    ? null
    : { sampleRate, samplesPerPacket, plainBytes: null, mostBytes: channels * AAC_BYTES_PER_CHANNEL };
}
