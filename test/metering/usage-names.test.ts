/** Usage in the names of receipts is read into the units that it was told from, each once. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readPrice } from '../../src/catalog/price.ts';
import { UNITS, type Unit, type Usage } from '../../src/catalog/units.ts';
import { presentUsage } from '../../src/metering/receipt-view.ts';
import { readUsage, refuseUnpricedUsage } from '../../src/metering/usage-names.ts';

const units = [...UNITS.filter((unit) => unit !== 'request'), 'tool:web_search'] as Unit[];
const usages: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...units), fc.integer({ min: 1, max: 1e9 }));

it('what a receipt shows is read as the usage that it shows', () => {
  fc.assert(
    fc.property(usages, (usage) => {
      expect(readUsage(presentUsage(usage))).toEqual({ ...usage });
    }),
  );
});

it.each([
  [{ output_tokens: 3, reasoning_tokens: 2, output_audio_tokens: 2 }, 'reasoning_tokens'],
  [{ input_tokens: 5, input_audio_tokens: 5, cached_input_tokens: 1 }, 'cached_input_tokens'],
  [{ input_tokens: 5, cached_input_tokens: 1, cached_input_audio_tokens: 2 }, 'cached_input_audio_tokens'],
  [{ reasoning_tokens: 1 }, 'reasoning_tokens'],
])('%o, where parts exceed the whole, is refused by name', (named, param) => {
  expect(() => readUsage(named)).toThrow(expect.objectContaining({ param: `usage.${param}` }));
});

it('cached sound is a part of what was cached and of the sound, and counts once', () => {
  const named = { input_tokens: 10, cached_input_tokens: 4, input_audio_tokens: 5, cached_input_audio_tokens: 4 };
  expect(readUsage(named)).toEqual({ input: 5, input_audio: 1, cached_input_audio: 4 });
});

it.each<[Usage, string | null]>([
  [{ input: 1, cached_input: 1, cache_write_1h: 1, output: 1, reasoning: 1, request: 1 }, null],
  [{ input_audio: 1, cached_input_audio: 1 }, null],
  [{ output_audio: 1 }, 'usage.output_audio_tokens'],
  [{ input_image: 1 }, 'usage.input_image_tokens'],
  [{ image: 1 }, 'usage.images'],
  [{ 'tool:x': 1 }, 'usage.tool:x'],
])('%o has a price, or is refused by the name of what has none', (usage, param) => {
  const price = readPrice({ input: '1', output: '2', input_audio: '3', request: '4' });
  const check = (): void => refuseUnpricedUsage(usage, price, 'plain');
  if (param === null) check();
  else expect(check).toThrow(expect.objectContaining({ param }));
});
