/**
 * What is held for a request covers what it is charged, whatever the provider honestly reports within the request's limits: the
 * model here counts text by a tokeniser and adds what is documented, splits the input and the output into any dimensions, answers
 * in any tier that was open to it, and runs tools as often as was asked.
 */
import fc from 'fast-check';
import { get_encoding } from 'tiktoken';
import { afterAll, expect, it } from 'vitest';
import { readPrice, type WrittenPrice } from '../../src/catalog/price.ts';
import { boundCharge, charge } from '../../src/catalog/rating.ts';
import type { Unit, Usage } from '../../src/catalog/units.ts';
import { TollgateError } from '../../src/errors.ts';
import { requestBounds } from '../../src/metering/bounds.ts';
import { refuseUnpriced } from '../../src/metering/requests/asks.ts';
import { readChatRequest } from '../../src/metering/requests/chat.ts';

const encodings = [get_encoding('o200k_base'), get_encoding('cl100k_base')];
afterAll(() => {
  for (const encoding of encodings) encoding.free();
});

const tally = { served: 0, refused: 0, closest: 0 };
afterAll(() => {
  const { served, refused, closest } = tally;
  const share = `${(closest * 100).toFixed(1)} %`;
  console.info(`${served} requests served, the dearest charge ${share} of its hold; ${refused} refused: no price`);
});

// Requests.
const hostile = fc.constantFrom(
  ...['a'.repeat(900), '😀'.repeat(200), '漢字仮名'.repeat(150), '<|endoftext|>'.repeat(20), '\\u0000"\n\t'.repeat(40)],
  ...['\u0000\u0001\ufffd'.repeat(60), '𓀀𒀀'.repeat(90), ' '.repeat(700), '0123456789'.repeat(60), 'ﷺ'.repeat(80)],
);
const text = fc.oneof(hostile, fc.string({ unit: 'binary', maxLength: 200 }), fc.lorem({ maxCount: 60 }));
const picture = fc.record({
  width: fc.integer({ min: 1, max: 6_000 }),
  height: fc.integer({ min: 1, max: 6_000 }),
  detail: fc.constantFrom('auto', 'low', 'high'),
  away: fc.boolean(),
});
const sound = fc.record({ seconds: fc.integer({ min: 0, max: 30 }), format: fc.constantFrom('wav', 'mp3') });
const MODELS = ['gpt-4o', 'gpt-4o-mini', 'o3', 'gpt-4.1-nano', 'gpt-5.4', 'some-vision'] as const;

const someRequest = fc.record({
  model: fc.constantFrom(...MODELS),
  texts: fc.array(text, { minLength: 1, maxLength: 4 }),
  pictures: fc.array(picture, { maxLength: 2 }),
  sounds: fc.array(sound, { maxLength: 2 }),
  tools: fc.array(text, { maxLength: 2 }),
  searches: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, fc.integer({ min: 1, max: 30 })),
  speaks: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.boolean()),
  n: fc.integer({ min: 1, max: 3 }),
  limit: fc.option(fc.integer({ min: 1, max: 3_000 })),
  tier: fc.constantFrom(undefined, undefined, 'auto', 'default', 'flex', 'priority', 'fast'),
});
type Drawn = typeof someRequest extends fc.Arbitrary<infer T> ? T : never;

/** The body that a client would send for it. */
function bodyOf(request: Drawn): Buffer {
  const { model, texts, pictures, sounds, tools, searches, speaks, n, limit, tier } = request;
  const parts = [
    ...pictures.map(({ width, height, detail, away }) => {
      const header = [...Buffer.from('GIF89a'), width & 255, width >> 8, height & 255, height >> 8];
      const data = Buffer.from([...header, ...Array<number>(200).fill(7)]).toString('base64');
      return { type: 'image_url', image_url: { url: away ? 'https://x/y' : `data:image/gif;base64,${data}`, detail } };
    }),
    // The least that a second of sound can be is 1,000 bytes.
    ...sounds.map(({ seconds, format }) => ({
      type: 'input_audio',
      input_audio: { format, data: Buffer.alloc(seconds * 1_000).toString('base64') },
    })),
  ];
  const functions = tools.map((description, i) => ({ type: 'function', function: { name: `f${i}`, description } }));
  const hosted = searches === null ? [] : [{ type: 'web_search', max_uses: searches }];
  const messages = [...texts, ...(parts.length === 0 ? [] : [parts])].map((content) => ({ role: 'user', content }));
  return Buffer.from(
    JSON.stringify({
      ...{ model, messages, n, service_tier: tier },
      ...(limit === null ? {} : { max_completion_tokens: limit }),
      ...(functions.length + hosted.length === 0 ? {} : { tools: [...functions, ...hosted] }),
      ...(speaks ? { modalities: ['text', 'audio'], audio: { voice: 'v', format: 'wav' } } : {}),
    }),
  );
}

// Prices.
const usd = fc.oneof(
  fc.constant('0'),
  fc.integer({ min: 1, max: 2_000_000 }).map((n) => String(n / 10_000)),
);
const maybe = fc.option(usd, { nil: undefined });
const tokenUnits = {
  ...{ cached_input: maybe, cache_write: maybe, cache_write_1h: maybe, input_audio: maybe, cached_input_audio: maybe },
  ...{ input_image: maybe, cached_input_image: maybe, reasoning: maybe, output_audio: maybe, output_image: maybe },
};
const somePrice: fc.Arbitrary<WrittenPrice> = fc.record({
  ...{ input: usd, output: usd, request: maybe, 'tool:web_search': maybe, ...tokenUnits },
  tiers: fc.array(
    fc.record({ above_input_tokens: fc.constantFrom(50, 500, 5_000), input: maybe, output: maybe, ...tokenUnits }),
    {
      maxLength: 2,
    },
  ),
  service_tiers: fc.constantFrom({}, { flex: '0.5' }, { flex: '0.5', priority: '2.5' }, { priority: '1.75' }),
});

// Answers.
/** A number of tokens as any of these units: cut at places that are drawn, each between 0 and 1. */
function split(tokens: number, units: readonly Unit[], cuts: readonly number[]): Usage {
  const at = [0, ...units.slice(1).map((_, i) => Math.round(tokens * cuts[i % cuts.length]!)), tokens].sort(
    (a, b) => a - b,
  );
  return Object.fromEntries(units.map((unit, i) => [unit, at[i + 1]! - at[i]!]));
}

/** Tokens of a picture, as published for each of the models. */
function drawn(model: string, { width, height, detail, away }: Drawn['pictures'][number]): number {
  const [w, h] = away ? [2_048, 768] : [width, height];
  const fitted = Math.min(1, 2_048 / Math.max(w, h));
  const scale = fitted * Math.min(1, 768 / (Math.min(w, h) * fitted));
  const tiles = detail === 'low' ? 0 : Math.ceil(Math.round(w * scale) / 512) * Math.ceil(Math.round(h * scale) / 512);
  const patches = Math.ceil(w / 32) * Math.ceil(h / 32);
  if (model === 'gpt-4o-mini') return 2_833 + 5_667 * tiles;
  if (model === 'gpt-4o') return 85 + 170 * tiles;
  if (model === 'o3') return 75 + 150 * tiles;
  if (model === 'gpt-4.1-nano') return Math.floor(Math.min(patches, 1_536) * 2.46);
  return Math.floor(Math.min(patches, 10_000) * 1.2);
}

function inputOf({ model, texts, pictures, sounds, tools }: Drawn, encoding: number): number {
  const count = (piece: string): number => encodings[encoding]!.encode_ordinary(piece).length;
  const said = texts.reduce((sum, piece) => sum + count(piece) + 4, 3 + 4);
  const called = tools.reduce((sum, piece) => sum + count(piece) + 12 + 10, tools.length > 0 ? 346 : 0);
  const seen = pictures.reduce((sum, one) => sum + drawn(model, one), 0);
  return said + called + seen + sounds.reduce((sum, { seconds }) => sum + seconds * 32, 0);
}

const INPUTS: readonly Unit[] = [
  'input',
  'cached_input',
  'cache_write',
  'cache_write_1h',
  'input_image',
  'cached_input_image',
];
const OUTPUTS: readonly Unit[] = ['output', 'reasoning', 'output_image'];
const MODEL = { maxOutputTokens: 4_000, contextWindow: 200_000 };

const someAnswer = fc.record({
  encoding: fc.constantFrom(0, 1),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 6, maxLength: 8 }),
  full: fc.double({ min: 0, max: 1, noNaN: true }).map((x) => (x > 0.5 ? 1 : x)),
  tier: fc.nat(3),
});
type Answered = typeof someAnswer extends fc.Arbitrary<infer T> ? T : never;

function usageOf(request: Drawn, { encoding, cuts, full }: Answered): Usage {
  const output = Math.floor(full * request.n * Math.min(request.limit ?? MODEL.maxOutputTokens, MODEL.maxOutputTokens));
  const heard: Unit[] = request.sounds.length > 0 ? ['input_audio', 'cached_input_audio'] : [];
  // What searches find is read, up to the window.
  const input = request.searches === null ? inputOf(request, encoding) : MODEL.contextWindow;
  return {
    ...split(Math.min(input, MODEL.contextWindow), [...INPUTS, ...heard], cuts),
    ...split(output, request.speaks ? [...OUTPUTS, 'output_audio'] : OUTPUTS, cuts.toReversed()),
    ...(request.searches === null ? {} : { 'tool:web_search': request.searches * request.n }),
  };
}

/** The tiers that may answer: the one asked for or the plain one; any where none is asked for. */
function tiersOf({ tier }: Drawn, { service_tiers }: WrittenPrice): string[] {
  if (tier === undefined || tier === 'auto') return ['default', ...Object.keys(service_tiers!)];
  return ['default', tier === 'fast' ? 'priority' : tier];
}

it('a hold covers every honest charge within the limits of a request', () => {
  fc.assert(
    fc.property(someRequest, somePrice, someAnswer, (drawnRequest, written, answer) => {
      const body = bodyOf(drawnRequest);
      const request = readChatRequest(body);
      const price = readPrice(written);
      try {
        refuseUnpriced(request.asks, price, request.model);
      } catch (error) {
        expect(error).toBeInstanceOf(TollgateError);
        tally.refused++;
        return;
      }
      const model = { ...MODEL, price, routes: [{ provider: 'p', model: drawnRequest.model }] };
      const held = boundCharge(requestBounds(request, model), price, 1_000n);
      const tiers = tiersOf(drawnRequest, written);
      const terms = { serviceTier: tiers[answer.tier % tiers.length] };
      const charged = charge(usageOf(drawnRequest, answer), price, 1_000n, terms);
      expect(held).toBeGreaterThanOrEqual(charged);
      tally.served++;
      if (held > 0n) tally.closest = Math.max(tally.closest, Number((charged * 10_000n) / held) / 10_000);
    }),
    { numRuns: 1_500 },
  );
  expect(tally.served).toBeGreaterThan(500);
  expect(tally.refused).toBeGreaterThan(50);
});
