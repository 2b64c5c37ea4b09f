/** How long the packets of a codec play, from their first bytes: of Opus each says so, of Vorbis the headers say what each means. */

const SILK_SECONDS = [0.01, 0.02, 0.04, 0.06];
const CELT_SECONDS = [0.0025, 0.005, 0.01, 0.02];
/** The most that a packet may have. */
export const MOST_OPUS_SECONDS = 0.12;

/** Seconds of an Opus packet that begins with these bytes. */
export function opusSeconds(packet: Buffer): number {
  if (packet.length === 0) return 0;
  const [first, config] = [packet[0]!, packet[0]! >> 3];
  const table = config < 12 ? SILK_SECONDS : config < 16 ? SILK_SECONDS.slice(0, 2) : CELT_SECONDS;
  const frame = table[config % table.length]!;
  const code = first & 3;
  const frames = code === 0 ? 1 : code < 3 ? 2 : (packet[1] ?? 0) & 63;
  return Math.min(frame * frames, MOST_OPUS_SECONDS);
}

/** What the headers of a Vorbis stream say of its packets. */
export interface VorbisModes {
  sampleRate: number;
  /** Samples of a block, by the number of its mode. */
  blocks: readonly number[];
}

/** The bits of a mode: whether its blocks are long, 16 + 16 of zeros, and its mapping. */
const MODE_BITS = 41;
const MOST_MODES = 64;

/** Of the first and the third header of a stream; `null`: they are none. */
export function vorbisModes(identification: Buffer, setup: Buffer): VorbisModes | null {
  if (identification.length < 30 || setup.length < 16) return null;
  const sampleRate = identification.readUInt32LE(12);
  const sizes = identification[28]!;
  const [short, long] = [1 << (sizes & 15), 1 << (sizes >> 4)];
  const flags = modeFlags(setup);
  if (flags === null || sampleRate === 0) return null;
  return { sampleRate, blocks: flags.map((isLong) => (isLong ? long : short)) };
}

/**
 * The modes stand at the end of the setup, after much that has no length of its own: so they are read from there, backwards, as
 * far as they look like modes, until their count stands before them.
 */
function modeFlags(setup: Buffer): boolean[] | null {
  let end = setup.length * 8 - 1;
  const bit = (at: number): number => (setup[at >> 3]! >> (at & 7)) & 1;
  const bits = (at: number, count: number): number => {
    let value = 0;
    for (let i = count - 1; i >= 0; i--) value = value * 2 + bit(at + i);
    return value;
  };
  // The last bit that is set ends the header.
  while (end > 0 && bit(end) === 0) end--;
  let found: boolean[] | null = null;
  const flags: boolean[] = [];
  for (let at = end - MODE_BITS; at >= 6 && flags.length < MOST_MODES; at -= MODE_BITS) {
    if (bits(at + 33, 8) > 63 || bits(at + 1, 16) !== 0 || bits(at + 17, 16) !== 0) break;
    flags.unshift(bit(at) === 1);
    if (bits(at - 6, 6) + 1 === flags.length) found = [...flags];
  }
  return found;
}

/** Counts the packets of a Vorbis stream: a block overlaps half of the one before it. */
export class VorbisClock {
  readonly #modes: VorbisModes;
  readonly #modeMask: number;
  #previous = 0;
  seconds = 0;

  constructor(modes: VorbisModes) {
    this.#modes = modes;
    this.#modeMask = (1 << Math.ceil(Math.log2(modes.blocks.length))) - 1;
  }

  packet(packet: Buffer): void {
    const first = packet[0];
    if (first === undefined || (first & 1) === 1) return;
    const { blocks, sampleRate } = this.#modes;
    const block = blocks[(first >> 1) & this.#modeMask] ?? Math.max(...blocks);
    if (this.#previous > 0) this.seconds += (this.#previous + block) / 4 / sampleRate;
    this.#previous = block;
  }
}
