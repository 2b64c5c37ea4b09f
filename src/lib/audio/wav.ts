/** WAV: the bytes of its sound, over what a second of it takes. Sizes that the file states of itself are not believed. */
import { isDisguised } from './disguised.ts';
import type { FileWindow } from './window.ts';

/** Sound whose samples all take the same: integers, floats, A-law and µ-law. */
const PLAIN_FORMATS: ReadonlySet<number> = new Set([1, 3, 6, 7]);
/** A-law and µ-law: of 8 bits, whatever the file says. */
const LOGARITHMIC: ReadonlySet<number> = new Set([6, 7]);
/** The true format is stated further on. */
const EXTENSIBLE = 0xfffe;
const MOST_SAMPLE_RATE = 384_000;
const MOST_CHANNELS = 32;
const MOST_CHUNKS = 1_000;
const FOUR_LETTERS = /^[ -~]{4}$/;

/** Seconds; `null`: not told by its bytes. */
export async function wavSeconds(file: FileWindow): Promise<number | null> {
  // Of a large file another chunk says how much sound there is: it goes on to the end as far as we know.
  const isLarge = (await file.at(0, 4)).toString('latin1') !== 'RIFF';
  let bytesPerSecond: number | null = null;
  let sound = 0;
  let at = 12;
  for (let chunks = 0; at + 8 <= file.length; chunks++) {
    const head = await file.at(at, 8);
    const id = head.toString('latin1', 0, 4);
    const size = head.readUInt32LE(4);
    const rest = file.length - at - 8;
    if (id === 'fmt ' && bytesPerSecond === null) {
      bytesPerSecond = rateOf(await file.at(at + 8, Math.min(size, 40)));
      if (bytesPerSecond === null) return null;
    } else if (id === 'data' || !FOUR_LETTERS.test(id) || chunks > MOST_CHUNKS || size > rest) {
      // A stream does not know its size when it is begun; some players read on past a size that is too small.
      const isWhole = id === 'data' && size > 0 && size <= rest && !isLarge;
      if (bytesPerSecond === null || (sound === 0 && (await isDisguised(file, at + 8, file.length)))) return null;
      sound += isWhole ? size : rest;
      if (!isWhole) break;
    }
    at += 8 + size + (size % 2);
  }
  return bytesPerSecond === null || sound === 0 ? null : sound / bytesPerSecond;
}

function rateOf(format: Buffer): number | null {
  if (format.length < 16) return null;
  const stated = format.readUInt16LE(0);
  const kind = stated === EXTENSIBLE && format.length >= 26 ? format.readUInt16LE(24) : stated;
  const [channels, sampleRate, bits] = [format.readUInt16LE(2), format.readUInt32LE(4), format.readUInt16LE(14)];
  // Some players take the samples to be as large as what is used of them.
  const used = stated === EXTENSIBLE && format.length >= 20 ? format.readUInt16LE(18) || bits : bits;
  if (used !== bits || (LOGARITHMIC.has(kind) && bits !== 8)) return null;
  const isPlausible = channels >= 1 && channels <= MOST_CHANNELS && sampleRate >= 1 && sampleRate <= MOST_SAMPLE_RATE;
  if (!PLAIN_FORMATS.has(kind) || !isPlausible || bits < 8 || bits > 64 || bits % 8 !== 0) return null;
  return (channels * sampleRate * bits) / 8;
}
