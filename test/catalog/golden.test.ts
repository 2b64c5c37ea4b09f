/**
 * Charges worked by hand from prices that providers publish (USD, as of 2026-07-24). The arithmetic stands beside each, in
 * millionths of a dollar (µ$) where tokens cost so many dollars a million: 86 tokens at 2.5 are 215 µ$. At 1,000 credits to
 * the dollar, 1 µ$ is 0.001 credit.
 */
import { describe, expect, test } from 'vitest';
import { readPrice, type Terms, type WrittenPrice } from '../../src/catalog/price.ts';
import { charge, rate } from '../../src/catalog/rating.ts';
import type { Usage } from '../../src/catalog/units.ts';
import { formatCredits, parseCredits } from '../../src/lib/money.ts';

interface Golden {
  what: string;
  price: WrittenPrice;
  usage: Usage;
  terms?: Terms;
  credits: string;
}

const GPT_5_4: WrittenPrice = {
  ...{ input: '2.5', cached_input: '0.25', output: '15' },
  tiers: [{ above_input_tokens: 272_000, input: '5', cached_input: '0.5', output: '22.5' }],
  service_tiers: { priority: '2' },
};
const GPT_IMAGE_1: WrittenPrice = { input: '5', cached_input: '1.25', input_image: '10', output_image: '40' };
const GPT_IMAGE_1_EACH: WrittenPrice = {
  image: {
    '1024x1024': { low: '0.011', medium: '0.042', high: '0.167' },
    '1024x1536': { low: '0.016', medium: '0.063', high: '0.25' },
  },
};

const OPENAI: Golden[] = [
  {
    what: 'gpt-4o, 2,006 tokens in of which 1,920 were cached',
    price: { input: '2.5', cached_input: '1.25', output: '10' },
    usage: { input: 86, cached_input: 1_920, output: 300 },
    // 86 × 2.5 = 215; 1,920 × 1.25 = 2,400; 300 × 10 = 3,000; together 5,615 µ$
    credits: '5.615',
  },
  {
    what: 'gpt-4o-mini, the plainest request',
    price: { input: '0.15', cached_input: '0.075', output: '0.6' },
    usage: { input: 8_512, output: 8 },
    // 8,512 × 0.15 = 1,276.8; 8 × 0.6 = 4.8; together 1,281.6 µ$
    credits: '1.2816',
  },
  {
    what: 'gpt-5 at flex: half of everything, reasoning at the price of output',
    price: { input: '1.25', cached_input: '0.125', output: '10', service_tiers: { flex: '0.5', priority: '2' } },
    usage: { input: 1_000, cached_input: 4_000, output: 500, reasoning: 1_500 },
    terms: { serviceTier: 'flex' },
    // 1,000 × 1.25 = 1,250; 4,000 × 0.125 = 500; 2,000 × 10 = 20,000; together 21,750, of which half: 10,875 µ$
    credits: '10.875',
  },
  {
    what: 'gpt-4.1 at priority: 1.75 times everything',
    price: { input: '2', cached_input: '0.5', output: '8', service_tiers: { priority: '1.75' } },
    usage: { input: 10_000, output: 500 },
    terms: { serviceTier: 'priority' },
    // 10,000 × 2 = 20,000; 500 × 8 = 4,000; together 24,000, × 1.75 = 42,000 µ$
    credits: '42',
  },
  {
    what: 'gpt-5.4, 272,000 tokens in: still the plain price',
    price: GPT_5_4,
    usage: { input: 250_000, cached_input: 22_000, output: 1_000, reasoning: 2_000 },
    // 250,000 × 2.5 = 625,000; 22,000 × 0.25 = 5,500; 3,000 × 15 = 45,000; together 675,500 µ$
    credits: '675.5',
  },
  {
    what: 'gpt-5.4, one token more: the whole request at the price of long inputs',
    price: GPT_5_4,
    usage: { input: 250_001, cached_input: 22_000, output: 1_000, reasoning: 2_000 },
    // 250,001 × 5 = 1,250,005; 22,000 × 0.5 = 11,000; 3,000 × 22.5 = 67,500; together 1,328,505 µ$
    credits: '1328.505',
  },
  {
    what: 'gpt-5.4, long and at priority: both',
    price: GPT_5_4,
    usage: { input: 300_000, output: 1_000 },
    terms: { serviceTier: 'priority' },
    // 300,000 × 5 = 1,500,000; 1,000 × 22.5 = 22,500; together 1,522,500, × 2 = 3,045,000 µ$
    credits: '3045',
  },
  {
    what: 'gpt-audio, a spoken question and a spoken answer',
    price: { input: '2.5', input_audio: '32', output: '10', output_audio: '64' },
    usage: { input: 20, input_audio: 300, output: 50, output_audio: 400 },
    // 20 × 2.5 = 50; 300 × 32 = 9,600; 50 × 10 = 500; 400 × 64 = 25,600; together 35,750 µ$
    credits: '35.75',
  },
  {
    what: 'gpt-image-1 by tokens: a prompt, a picture to edit, a picture made',
    price: GPT_IMAGE_1,
    usage: { input: 50, input_image: 323, output_image: 4_160 },
    // 50 × 5 = 250; 323 × 10 = 3,230; 4,160 × 40 = 166,400; together 169,880 µ$
    credits: '169.88',
  },
  {
    what: 'gpt-image-1 by the piece: two of 1024x1536, medium',
    price: GPT_IMAGE_1_EACH,
    usage: { image: 2 },
    terms: { imageSize: '1024x1536', imageQuality: 'medium' },
    // 2 × 63,000 = 126,000 µ$
    credits: '126',
  },
  {
    what: 'whisper-1, 63.5 seconds',
    price: { second_input: '0.0001' },
    usage: { second_input: 63.5 },
    // 63.5 × 100 = 6,350 µ$
    credits: '6.35',
  },
  {
    what: 'tts-1, 1,234 characters',
    price: { character: '15' },
    usage: { character: 1_234 },
    // 1,234 × 15 = 18,510 µ$
    credits: '18.51',
  },
  {
    what: 'gpt-4o-search-preview, one search at medium context',
    price: { input: '2.5', cached_input: '1.25', output: '10', 'tool:web_search': '0.035' },
    usage: { input: 400, output: 250, 'tool:web_search': 1 },
    // 400 × 2.5 = 1,000; 250 × 10 = 2,500; one search 35,000; together 38,500 µ$
    credits: '38.5',
  },
];

const CLAUDE_SONNET_4_5: WrittenPrice = {
  ...{ input: '3', cached_input: '0.3', cache_write: '3.75', cache_write_1h: '6', output: '15' },
  tiers: [
    {
      above_input_tokens: 200_000,
      ...{ input: '6', cached_input: '0.6', cache_write: '7.5', cache_write_1h: '12', output: '22.5' },
    },
  ],
};

const ANTHROPIC: Golden[] = [
  {
    what: 'claude-sonnet-4-5, written to the cache for five minutes and for an hour, and read from it',
    price: CLAUDE_SONNET_4_5,
    usage: { input: 12, cached_input: 10_000, cache_write: 2_000, cache_write_1h: 3_000, output: 400 },
    // 12 × 3 = 36; 10,000 × 0.3 = 3,000; 2,000 × 3.75 = 7,500; 3,000 × 6 = 18,000; 400 × 15 = 6,000; 34,536 µ$
    credits: '34.536',
  },
  {
    what: 'claude-sonnet-4-5, long: cached and written tokens count towards the length',
    price: CLAUDE_SONNET_4_5,
    usage: { input: 1, cached_input: 150_000, cache_write: 50_000, output: 1_000 },
    // 1 × 6 = 6; 150,000 × 0.6 = 90,000; 50,000 × 7.5 = 375,000; 1,000 × 22.5 = 22,500; together 487,506 µ$
    credits: '487.506',
  },
  {
    what: 'claude-opus-4-8, three searches of the web',
    price: { input: '5', cached_input: '0.5', cache_write: '6.25', output: '25', 'tool:web_search': '0.01' },
    usage: { input: 12_229, output: 900, 'tool:web_search': 3 },
    // 12,229 × 5 = 61,145; 900 × 25 = 22,500; 3 × 10,000 = 30,000; together 113,645 µ$
    credits: '113.645',
  },
];

const OTHERS: Golden[] = [
  {
    what: 'Google gemini-2.5-pro, above 200,000 tokens in, with thoughts',
    price: {
      ...{ input: '1.25', cached_input: '0.125', output: '10' },
      tiers: [{ above_input_tokens: 200_000, input: '2.5', cached_input: '0.25', output: '15' }],
    },
    usage: { input: 200_001, output: 500, reasoning: 1_500 },
    // 200,001 × 2.5 = 500,002.5; 2,000 × 15 = 30,000; together 530,002.5 µ$
    credits: '530.0025',
  },
  {
    what: 'Google gemini-2.5-flash, listening to audio',
    price: { input: '0.3', cached_input: '0.03', input_audio: '1', output: '2.5', reasoning: '2.5' },
    usage: { input: 20, input_audio: 1_500, output: 100, reasoning: 60 },
    // 20 × 0.3 = 6; 1,500 × 1 = 1,500; 160 × 2.5 = 400; together 1,906 µ$
    credits: '1.906',
  },
  {
    what: 'xAI grok-4-fast-reasoning: 73.1 µ$, as xAI itself billed such an answer',
    price: {
      ...{ input: '0.2', cached_input: '0.05', output: '0.5' },
      tiers: [{ above_input_tokens: 128_000, input: '0.4', output: '1' }],
    },
    usage: { input: 9, cached_input: 156, output: 2, reasoning: 125 },
    // 9 × 0.2 = 1.8; 156 × 0.05 = 7.8; 127 × 0.5 = 63.5; together 73.1 µ$
    credits: '0.0731',
  },
  {
    what: 'Mistral mistral-large',
    price: { input: '0.5', output: '1.5' },
    usage: { input: 1_000, output: 333 },
    // 1,000 × 0.5 = 500; 333 × 1.5 = 499.5; together 999.5 µ$
    credits: '0.9995',
  },
  {
    what: 'DeepSeek deepseek-chat, 1,024 of 1,100 tokens hit the cache',
    price: { input: '0.28', cached_input: '0.028', output: '0.42' },
    usage: { input: 76, cached_input: 1_024, output: 200 },
    // 76 × 0.28 = 21.28; 1,024 × 0.028 = 28.672; 200 × 0.42 = 84; together 133.952 µ$
    credits: '0.133952',
  },
  {
    what: 'Groq whisper-large-v3, ten seconds',
    price: { second_input: '0.00003083' },
    usage: { second_input: 10 },
    // 10 × 30.83 = 308.3 µ$
    credits: '0.3083',
  },
  {
    what: 'Groq openai/gpt-oss-120b, half of its prompt cached',
    price: { input: '0.15', cached_input: '0.075', output: '0.6' },
    usage: { input: 512, cached_input: 512, output: 90, reasoning: 10 },
    // 512 × 0.15 = 76.8; 512 × 0.075 = 38.4; 100 × 0.6 = 60; together 175.2 µ$
    credits: '0.1752',
  },
  {
    what: 'Perplexity sonar, whose fee for the request is most of it',
    price: { input: '1', output: '1', request: '0.005' },
    usage: { input: 7, output: 1 },
    // 8 × 1 = 8; the request 5,000; together 5,008 µ$
    credits: '5.008',
  },
];

const nano = (text: string): bigint => parseCredits(text)!;

describe.each([
  ['OpenAI', OPENAI],
  ['Anthropic', ANTHROPIC],
  ['others', OTHERS],
])('published prices of %s', (_providers, cases) => {
  test.each(cases)('$what: $credits credits', ({ price, usage, terms, credits }) => {
    expect(formatCredits(charge(usage, readPrice(price), 1_000n, terms))).toBe(credits);
    const { charge: whole, lines } = rate(usage, readPrice(price), 1_000n, terms);
    expect(formatCredits(whole)).toBe(credits);
    expect(formatCredits(lines.reduce((sum, line) => sum + nano(line.credits), 0n))).toBe(credits);
  });
});

test('the smallest charge is rounded up, once: DeepSeek deepseek-v4-pro, a cached token at 0.003625, 1 credit to the dollar', () => {
  const price = readPrice({ input: '0.435', cached_input: '0.003625', output: '0.87' });
  // One token is 3.625 nano-dollars: 4 nano-credits. A thousand are 3,625, and not a thousand times 4.
  expect(charge({ cached_input: 1 }, price, 1n)).toBe(4n);
  expect(charge({ cached_input: 1_000 }, price, 1n)).toBe(3_625n);
});

test('a markup is on the price, before the rounding: gpt-4o at 1.2', () => {
  const price = readPrice({ input: '2.5', cached_input: '1.25', output: '10' }, 1_200_000n);
  // 5,615 µ$ as above, × 1.2 = 6,738 µ$
  expect(formatCredits(charge({ input: 86, cached_input: 1_920, output: 300 }, price, 1_000n))).toBe('6.738');
});
