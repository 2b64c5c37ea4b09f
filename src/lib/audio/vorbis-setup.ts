/**
 * The setup of a Vorbis stream, read from its beginning as decoders do: its modes stand behind much that has no length of its own, and
 * bytes may follow them that say otherwise to who reads it backwards (Vorbis I, 4.2.4).
 */

const HEAD_BYTES = 7;
const CODEBOOK = 0x564342;
const MOST_LENGTH = 32;

/** Bits, the lowest of a byte first. Past the end there is none: reading stops. */
class Bits {
  readonly #bytes: Buffer;
  #at = HEAD_BYTES * 8;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(count: number): number {
    if (this.#at + count > this.#bytes.length * 8) throw new RangeError('the setup ends');
    let value = 0;
    for (let i = 0; i < count; i++, this.#at++) {
      value += ((this.#bytes[this.#at >> 3]! >> (this.#at & 7)) & 1) * 2 ** i;
    }
    return value;
  }

  skip(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length * 8) throw new RangeError('the setup ends');
  }

  /** Does it as often as a number of so many bits says, and once more. */
  times(count: number, work: () => void): void {
    for (let left = this.read(count); left >= 0; left--) work();
  }
}

/** By the number of each mode whether its blocks are long; `null`: it is no setup. */
export function modeFlags(setup: Buffer, channels: number): boolean[] | null {
  const bits = new Bits(setup);
  const flags: boolean[] = [];
  try {
    bits.times(8, () => passCodebook(bits));
    bits.times(6, () => bits.skip(16));
    bits.times(6, () => passFloor(bits));
    bits.times(6, () => passResidue(bits));
    bits.times(6, () => passMapping(bits, channels));
    bits.times(6, () => {
      flags.push(bits.read(1) === 1);
      bits.skip(40);
    });
    return bits.read(1) === 1 ? flags : null;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function passCodebook(bits: Bits): void {
  if (bits.read(24) !== CODEBOOK) throw new RangeError('no codebook');
  const [dimensions, entries, isOrdered] = [bits.read(16), bits.read(24), bits.read(1) === 1];
  if (isOrdered) {
    bits.skip(5);
    for (let done = 0, lengths = 0; done < entries; lengths++) {
      if (lengths > MOST_LENGTH) throw new RangeError('no lengths');
      done += bits.read(widthOf(entries - done));
    }
  } else {
    const isSparse = bits.read(1) === 1;
    for (let i = 0; i < entries; i++) if (!isSparse || bits.read(1) === 1) bits.skip(5);
  }
  const lookup = bits.read(4);
  if (lookup > 2) throw new RangeError('no lookup');
  if (lookup === 0) return;
  bits.skip(64);
  const width = bits.read(4) + 1;
  bits.skip(1);
  bits.skip(width * (lookup === 1 ? valuesOf(entries, dimensions) : entries * dimensions));
}

/** The largest number whose power is no more than the entries. */
function valuesOf(entries: number, dimensions: number): number {
  if (dimensions === 0) throw new RangeError('no dimensions');
  let values = Math.floor(entries ** (1 / dimensions));
  while ((values + 1) ** dimensions <= entries) values++;
  while (values ** dimensions > entries) values--;
  return values;
}

/** Bits that a number takes. */
function widthOf(value: number): number {
  return 32 - Math.clz32(value);
}

function passFloor(bits: Bits): void {
  const type = bits.read(16);
  if (type > 1) throw new RangeError('no floor');
  if (type === 0) {
    bits.skip(8 + 16 + 16 + 6 + 8);
    bits.times(4, () => bits.skip(8));
    return;
  }
  const partitions = Array.from({ length: bits.read(5) }, () => bits.read(4));
  const dimensions = Array.from({ length: Math.max(-1, ...partitions) + 1 }, () => {
    const own = bits.read(3) + 1;
    const subclasses = bits.read(2);
    bits.skip((subclasses > 0 ? 8 : 0) + 8 * 2 ** subclasses);
    return own;
  });
  bits.skip(2);
  const range = bits.read(4);
  for (const partition of partitions) bits.skip(range * dimensions[partition]!);
}

function passResidue(bits: Bits): void {
  bits.skip(16 + 24 + 24 + 24);
  const classes = bits.read(6) + 1;
  bits.skip(8);
  let books = 0;
  for (let i = 0; i < classes; i++) {
    const low = bits.read(3);
    const high = bits.read(1) === 1 ? bits.read(5) : 0;
    for (let cascade = high * 8 + low; cascade > 0; cascade >>= 1) books += cascade & 1;
  }
  bits.skip(books * 8);
}

function passMapping(bits: Bits, channels: number): void {
  bits.skip(16);
  const submaps = bits.read(1) === 1 ? bits.read(4) + 1 : 1;
  if (bits.read(1) === 1) bits.times(8, () => bits.skip(2 * widthOf(channels - 1)));
  bits.skip(2);
  if (submaps > 1) bits.skip(4 * channels);
  bits.skip(24 * submaps);
}
