/**
 * How many tokens a picture can be to a model, by the rule of its family (field notes, wire.md §4.3). Nothing is fetched and
 * nothing is decoded: a picture that comes by its address, or whose header is not understood, is the dearest of its family.
 * The rules are those that providers publish, and those measured where they say otherwise; the dearer of the two.
 */
import type { ImageSize } from '../lib/image-size.ts';

export interface Picture {
  /** In pixels; `null`: not known. */
  size: ImageSize | null;
  /** The client wants it read in low detail. */
  low: boolean;
}

type Rule = (picture: Picture) => number;

/** Fitted into 2048 × 768, at 512 × 512 each: more there are not. */
const MOST_TILES = 8;
const PATCH_PIXELS = 32;
/** A model that scales pictures down to this many patches counts each as up to 2.46 tokens. */
const SCALED_PATCHES = 1_536;
const TOKENS_PER_SCALED_PATCH = 2.46;
/** Others count each patch as 1.2 tokens, of up to 10,000 as published; the most measured is 14,364 for 12 megapixels. */
const TOKENS_PER_PATCH = 1.2;
const MOST_PATCH_TOKENS = 16_384;
/** A token for each 731 pixels: more than any other family counts for a large picture. */
const TOKENS_PER_ANY_PATCH = 1.4;
/** Families that cut a picture into four of 1,601 tokens, or into patches of 16 × 16, count so many for a small one too. */
const LEAST_ANY_TOKENS = 6_500;

/** A picture that is to be edited: up to eight tiles at 129, and as much again and more where it is read with fidelity. */
const MOST_EDITED_TOKENS = 65 + 129 * MOST_TILES + 6_240;

const FAMILIES: readonly [name: RegExp, rule: Rule][] = [
  [/(gpt|chatgpt)-image/, () => MOST_EDITED_TOKENS],
  [/gpt-4o-mini/, tiled(2_833, 5_667)],
  [/(gpt-4o|gpt-4-turbo|gpt-4\.5|gpt-4\.1(?!-)|(^|\/)o[13](-|$))/, tiled(85, 170)],
  [/(gpt-5|gpt-4\.1-|(^|\/)o4-)/, patched],
];

/** The most tokens that pictures can be, together, to a model that its providers know by these names. */
export function pictureTokens(pictures: readonly Picture[], models: readonly string[]): number {
  return Math.max(...models.map(ruleOf).map((rule) => pictures.reduce((sum, picture) => sum + rule(picture), 0)));
}

function ruleOf(model: string): Rule {
  return FAMILIES.find(([name]) => name.test(model))?.[1] ?? any;
}

/** The shorter side is brought to 768 pixels, so that there are two rows of tiles; the longer is at most 2048. */
function tiled(base: number, perTile: number): Rule {
  return ({ size, low }) => {
    if (low) return base;
    if (size === null) return base + perTile * MOST_TILES;
    const ratio = Math.max(size.width, size.height) / Math.min(size.width, size.height);
    return base + perTile * 2 * Math.ceil(Math.min(2_048, 768 * ratio) / 512);
  };
}

/** Detail makes no difference to some of these. Those that had tiles count less: 70 and 140 a tile. */
function patched({ size }: Picture): number {
  if (size === null) return MOST_PATCH_TOKENS;
  const patches = patchesOf(size);
  const scaled = Math.min(patches, SCALED_PATCHES) * TOKENS_PER_SCALED_PATCH;
  const plain = Math.min(patches * TOKENS_PER_PATCH, MOST_PATCH_TOKENS);
  return Math.ceil(Math.max(scaled, plain, tiled(70, 140)({ size, low: false })));
}

function any({ size }: Picture): number {
  if (size === null) return MOST_PATCH_TOKENS;
  const byPatches = Math.ceil(patchesOf(size) * TOKENS_PER_ANY_PATCH);
  return Math.min(Math.max(byPatches, LEAST_ANY_TOKENS), MOST_PATCH_TOKENS);
}

function patchesOf({ width, height }: ImageSize): number {
  return Math.ceil(width / PATCH_PIXELS) * Math.ceil(height / PATCH_PIXELS);
}
