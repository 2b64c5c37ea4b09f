/** How long the packets of a codec play, from their first bytes: of Opus each says so, of Vorbis the headers say what each means. */
import { modeFlags } from './vorbis-setup.ts';

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

/** Of the first and the third header of a stream; `null`: they are none. */
export function vorbisModes(identification: Buffer, setup: Buffer): VorbisModes | null {
  if (identification.length < 30 || setup.length < 16) return null;
  const sampleRate = identification.readUInt32LE(12);
  const sizes = identification[28]!;
  const [short, long] = [1 << (sizes & 15), 1 << (sizes >> 4)];
  const flags = modeFlags(setup, identification[11]!);
  if (flags === null || sampleRate === 0) return null;
  return { sampleRate, blocks: flags.map((isLong) => (isLong ? long : short)) };
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
