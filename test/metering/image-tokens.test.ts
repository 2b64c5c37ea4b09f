/** A picture's bound is above what each family of models counts for it, as published or measured (field notes, wire.md §4.3). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pictureTokens } from '../../src/metering/image-tokens.ts';

const of = (model: string, width: number, height: number, low = false): number =>
  pictureTokens([{ size: { width, height }, low }], [model]);
const unknown = (model: string, low = false): number => pictureTokens([{ size: null, low }], [model]);

/** As published: fitted into 2048 × 2048, then the shorter side into 768, in tiles of 512. */
function publishedTiles(width: number, height: number): number {
  const fitted = Math.min(1, 2048 / Math.max(width, height));
  const shorter = Math.min(1, 768 / (Math.min(width, height) * fitted));
  const [w, h] = [width * fitted * shorter, height * fitted * shorter];
  return Math.ceil(Math.round(w) / 512) * Math.ceil(Math.round(h) / 512);
}

const side = fc.integer({ min: 1, max: 9_000 });

describe('a picture of known size', () => {
  it.each<[string, string, number, number, number]>([
    ['published: 765 tokens for 1024 × 1024', 'gpt-4o', 1024, 1024, 765],
    ['published: 1,105 for 2048 × 4096', 'gpt-4o', 2048, 4096, 1_105],
    ['published: 48,169 for 2048 × 768', 'gpt-4o-mini', 2048, 768, 48_169],
    ['published: 2,520 for 1024 × 1024 at 2.46 a patch', 'gpt-4.1-nano', 1024, 1024, 2_520],
    ['measured: 1,229 for 1024 × 1024', 'gpt-5.4', 1024, 1024, 1_229],
    ['measured: 14,364 for 4032 × 3024', 'gpt-5.5', 4032, 3024, 14_364],
    ['four of 1,601, in other families', 'llama-3.2-90b-vision', 1120, 1120, 6_404],
    ['patches of 16 × 16, in other families', 'pix-12b', 1024, 1024, 4_096],
    ['4,000 for 12 megapixels, in other families', 'c-sonnet-5', 4032, 3024, 4_000],
  ])('%s', (_, model, width, height, tokens) => {
    expect(of(model, width, height)).toBeGreaterThanOrEqual(tokens);
    expect(unknown(model)).toBeGreaterThanOrEqual(tokens);
  });

  it('is bounded above its tiles, whatever its size', () => {
    fc.assert(
      fc.property(side, side, (width, height) => {
        const tiles = publishedTiles(width, height);
        expect(of('gpt-4o', width, height)).toBeGreaterThanOrEqual(85 + 170 * tiles);
        expect(of('o3', width, height)).toBeGreaterThanOrEqual(75 + 150 * tiles);
        expect(of('gpt-5-chat-latest', width, height)).toBeGreaterThanOrEqual(70 + 140 * tiles);
        expect(of('gpt-4o-mini', width, height)).toBeGreaterThanOrEqual(2_833 + 5_667 * tiles);
      }),
    );
  });

  it('is never dearer than one of unknown size', () => {
    fc.assert(
      fc.property(
        side,
        side,
        fc.constantFrom('gpt-4o', 'gpt-4o-mini', 'gpt-5.6', 'x'),
        fc.boolean(),
        (w, h, model, low) => {
          expect(of(model, w, h, low)).toBeLessThanOrEqual(unknown(model, low));
        },
      ),
    );
  });
});

describe('low detail', () => {
  it('is the base of a family with tiles', () => {
    expect([of('gpt-4o', 4000, 3000, true), of('gpt-4o-mini', 4000, 3000, true)]).toEqual([85, 2_833]);
  });

  it('makes no difference to a family that does not look at it', () => {
    expect(of('gpt-5-nano', 1024, 1024, true)).toBe(of('gpt-5-nano', 1024, 1024));
    expect(unknown('x', true)).toBe(unknown('x'));
  });
});

it('a model that may be served by several is bounded by the dearest', () => {
  const picture = { size: { width: 1024, height: 1024 }, low: false };
  expect(pictureTokens([picture, picture], ['gpt-4o', 'openai/gpt-4o-mini', 'fast'])).toBe(
    2 * of('gpt-4o-mini', 1024, 1024),
  );
});
