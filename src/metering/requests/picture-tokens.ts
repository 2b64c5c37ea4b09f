/**
 * How many tokens a picture is that a model makes: as many to the pixel as its quality says. The counts are those of OpenAI's
 * first models of this kind, 1024 × 1024 (field notes, wire.md §4.4); newer ones count more, and some write a few words beside.
 */
const PIXELS = 1024 * 1024;
const TOKENS: Readonly<Record<string, number>> = { low: 272, medium: 1_056, high: 4_160 };
const DEAREST = TOKENS.high!;
/** 7,024 were seen for a picture that counts 4,160 by the table. */
const NEWER = 1.7;
const MOST_WORDS = 256;
const PARTIAL_TOKENS = 100;
/** What a model takes that chooses itself, and the most that any makes: of a size that we do not understand. */
const LARGEST_STANDARD = 1536 * 1024;
const LARGEST = 3840 * 2160;
/** A side that is longer is none that any model makes; its bound stays a number. */
const MOST_DIGITS = 5;
const SIZE = new RegExp(`^([1-9]\\d{0,${MOST_DIGITS - 1}})x([1-9]\\d{0,${MOST_DIGITS - 1}})$`);

/** The most output tokens of one picture of this size and quality, with so many partial ones before it. `null`: not said. */
export function mostPictureTokens(size: string | null, quality: string | null, partial: number): number {
  const pixels = Math.max(PIXELS, pixelsOf(size));
  return Math.ceil(perPicture(quality) * (pixels / PIXELS) * NEWER) + MOST_WORDS + partial * PARTIAL_TOKENS;
}

/** The output tokens of one picture, likely. */
export function likelyPictureTokens(size: string | null, quality: string | null): number {
  return Math.ceil(perPicture(quality) * (pixelsOf(size) / PIXELS));
}

function perPicture(quality: string | null): number {
  return quality !== null && Object.hasOwn(TOKENS, quality) ? TOKENS[quality]! : DEAREST;
}

function pixelsOf(size: string | null): number {
  if (size === null || size === 'auto') return LARGEST_STANDARD;
  const sides = SIZE.exec(size);
  return sides === null ? LARGEST : Number(sides[1]) * Number(sides[2]);
}
