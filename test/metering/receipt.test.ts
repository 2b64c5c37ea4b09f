/** A receipt says again, years later and without the catalog, what was charged and why; and it is small. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { flatPrice, readPrice } from '../../src/catalog/price.ts';
import { charge, rate } from '../../src/catalog/rating.ts';
import { UNITS, type Unit, type Usage } from '../../src/catalog/units.ts';
import { ENDPOINTS } from '../../src/gateway/endpoints.ts';
import { MAX_RECEIPT_BYTES } from '../../src/ledger/journal/record.ts';
import { normalise, readChatJson } from '../../src/metering/readers/chat.ts';
import {
  decodeReceipt,
  encodeFrozen,
  encodeReceipt,
  type FrozenFacts,
  type ReceiptFacts,
} from '../../src/metering/receipt.ts';
import { presentReceipt, presentUsage, type ReceiptSource } from '../../src/metering/receipt-view.ts';

const frozen: FrozenFacts = {
  endpoint: 'chat',
  model: 'gpt-4o-mini',
  priceVersion: 3,
  price: readPrice({ input: '0.2', output: '0.8' }),
  stream: true,
  createdAt: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
};

const facts: ReceiptFacts = {
  ...frozen,
  held: 13_107_200_000n,
  usage: { input: 1234, output: 567 },
  usageSource: 'provider',
  clampedTo: null,
  disconnect: null,
  attempts: [{ provider: 'main', model: 'gpt-4o-mini', status: 200, outcome: 'streamed', ms: 812 }],
};

const source = (bytes: Buffer, more: Partial<ReceiptSource> = {}): ReceiptSource => ({
  requestId: 'req_1',
  accountId: 'acct_1',
  keyId: 'key_1',
  status: 'settled',
  bytes,
  held: null,
  onOrphan: null,
  charged: 700_400_000n,
  lots: [{ lot_id: 'lot_1', credits: '0.7004' }],
  refund: null,
  settledAt: new Date(Date.UTC(2026, 0, 2, 3, 4, 6)),
  ...more,
});

/** The units that the names of a receipt's usage come from: what `presentUsage` must be enough for. */
function unitsBehind(named: Record<string, number>): Usage {
  const of = (name: string): number => named[name] ?? 0;
  const cachedText = of('cached_input_tokens') - of('cached_input_audio_tokens') - of('cached_input_image_tokens');
  const freshAudio = of('input_audio_tokens') - of('cached_input_audio_tokens');
  const freshImages = of('input_image_tokens') - of('cached_input_image_tokens');
  const units: Usage = {
    input: of('input_tokens') - of('cached_input_tokens') - of('cache_write_tokens') - freshAudio - freshImages,
    cached_input: cachedText,
    cache_write: of('cache_write_tokens') - of('cache_write_1h_tokens'),
    cache_write_1h: of('cache_write_1h_tokens'),
    input_audio: freshAudio,
    cached_input_audio: of('cached_input_audio_tokens'),
    input_image: freshImages,
    cached_input_image: of('cached_input_image_tokens'),
    output: of('output_tokens') - of('reasoning_tokens') - of('output_audio_tokens') - of('output_image_tokens'),
    reasoning: of('reasoning_tokens'),
    output_audio: of('output_audio_tokens'),
    output_image: of('output_image_tokens'),
    image: of('images'),
    second_input: of('input_seconds'),
    second_output: of('output_seconds'),
    character: of('characters'),
  };
  for (const name of Object.keys(named)) if (name.startsWith('tool:')) units[name as Unit] = of(name);
  return Object.fromEntries(Object.entries(units).filter(([, quantity]) => quantity !== 0));
}

describe('a receipt', () => {
  it('is what it was, after it was kept', () => {
    const text = fc.string({ maxLength: 20 });
    const tokens = fc.integer({ min: 0, max: 1_000_000_000 });
    const any = fc.record({
      endpoint: fc.constantFrom('chat', 'embeddings'),
      model: text,
      priceVersion: fc.nat(),
      price: fc.dictionary(fc.constantFrom(...UNITS), fc.bigInt(0n, 10n ** 30n)).map(flatPrice),
      priceSource: fc.oneof(
        fc.constant(null),
        fc.record({ kind: fc.constant('account'), version: fc.nat() }),
        fc.record({ kind: fc.constant('plan'), plan: text, version: fc.nat() }),
      ),
      stream: fc.boolean(),
      createdAt: fc.integer({ min: 0, max: 4e12 }),
      held: fc.bigInt(0n, 10n ** 18n),
      usage: fc.dictionary(fc.constantFrom(...UNITS), tokens),
      usageSource: fc.constantFrom('provider', 'estimated'),
      clampedTo: fc.option(fc.integer({ min: 1, max: 1e6 })),
      disconnect: fc.constantFrom(null, 'aborted', 'drained'),
      attempts: fc.array(
        fc.record({ provider: text, model: text, status: fc.option(fc.nat(599)), outcome: text, ms: fc.nat() }),
        { maxLength: 3 },
      ),
    });
    fc.assert(
      fc.property(any, (generated) => {
        const receipt = generated as unknown as ReceiptFacts;
        const { priceSource, ...rest } = receipt;
        // The model's own price is nothing that would have to be kept.
        expect(decodeReceipt(encodeReceipt(receipt)).settled).toEqual(priceSource === null ? rest : receipt);
      }),
    );
  });

  it('of a plain request takes at most 250 bytes', () => {
    expect(encodeReceipt(facts).length).toBeLessThanOrEqual(250);
    expect(encodeFrozen(frozen).length).toBeLessThanOrEqual(150);
  });

  it('fits the journal, whatever a provider calls its service tier and however many tools it names', () => {
    const long = '\u0001'.repeat(100_000);
    const tools = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`${'t'.repeat(30)}${i}_calls`, 1e9]));
    const body = { service_tier: long, usage: { prompt_tokens: 1, server_side_tool_usage_details: tools } };
    const { reported } = readChatJson(Buffer.from(JSON.stringify(body)));
    const terms = { serviceTier: long, imageSize: long, imageQuality: long };
    const receipt = encodeReceipt({ ...facts, usage: normalise(reported!), terms, policy: 'when_short: clamp' });
    expect(receipt.length).toBeLessThanOrEqual(MAX_RECEIPT_BYTES);
    expect(decodeReceipt(receipt).settled!.terms!.serviceTier).toBe('?'.repeat(41));
  });

  it('of a form of another release is refused, not misread', () => {
    expect(() => decodeReceipt(Buffer.from('[9,"chat"]'))).toThrow(/version 9/);
  });

  it('has lines that add up to the charge, from the price it was frozen at', () => {
    const kept = decodeReceipt(encodeReceipt(facts)).settled!;
    expect(rate(kept.usage, kept.price, 1000n).charge).toBe(charge(facts.usage, facts.price, 1000n));
  });
});

describe('a receipt as it is shown', () => {
  it('shows each endpoint as the path that was called', () => {
    for (const [url, { name }] of ENDPOINTS) {
      expect(presentReceipt(source(encodeReceipt({ ...facts, endpoint: name })), 1000n).endpoint).toBe(url);
    }
  });

  it('of a settled request says all', () => {
    const usage = {
      input: 10,
      cached_input: 20,
      cache_write: 5,
      output: 7,
      reasoning: 9,
      input_audio: 3,
      output_audio: 2,
    };
    const attempts = [
      { provider: 'main', model: 'gpt-4o-mini', status: 503, outcome: 'refused', ms: 20 },
      { provider: 'spare', model: 'their-name', status: 200, outcome: 'streamed', ms: 700 },
    ];
    const shown = presentReceipt(source(encodeReceipt({ ...facts, usage, attempts, clampedTo: 99 })), 1000n);
    expect(shown).toMatchObject({
      request_id: 'req_1',
      endpoint: '/v1/chat/completions',
      model: 'gpt-4o-mini',
      provider: 'spare',
      provider_model: 'their-name',
      status: 'settled',
      stream: true,
      usage: {
        input_tokens: 38,
        cached_input_tokens: 20,
        cache_write_tokens: 5,
        output_tokens: 18,
        reasoning_tokens: 9,
        input_audio_tokens: 3,
        output_audio_tokens: 2,
      },
      usage_source: 'provider',
      price_version: 3,
      held: '13.1072',
      charged: '0.7004',
      clamped_to: 99,
      disconnect: null,
      lots: [{ lot_id: 'lot_1', credits: '0.7004' }],
      created_at: '2026-01-02T03:04:05.678Z',
      settled_at: '2026-01-02T03:04:06.000Z',
    });
    expect(shown.attempts).toEqual(attempts.map(({ model: _, ...attempt }) => attempt));
    expect(shown.lines.map(({ unit, quantity }) => [unit, quantity])).toEqual(
      UNITS.filter((unit) => unit in usage).map((unit) => [unit, usage[unit as keyof typeof usage]]),
    );
  });

  it('tells each unit by the names of its usage', () => {
    const units = fc.uniqueArray(fc.constantFrom<Unit>(...UNITS, 'tool:web_search', 'tool:file_search'));
    const amounts = fc.array(fc.integer({ min: 1, max: 1e9 }), { minLength: 20, maxLength: 20 });
    fc.assert(
      fc.property(units, amounts, (used, counts) => {
        const usage: Usage = Object.fromEntries(
          used.filter((unit) => unit !== 'request').map((unit, i) => [unit, counts[i]!]),
        );
        expect(unitsBehind(presentUsage(usage))).toEqual(usage);
      }),
    );
  });

  it('says at a line what chose its price: the length of the input, the service tier, the kind of the picture', () => {
    const price = readPrice({
      ...{ input: '2', output: '8', request: '0.001', image: { '1024x1024': { low: '0.01', high: '0.2' } } },
      tiers: [{ above_input_tokens: 1000, input: '4' }],
      service_tiers: { flex: '0.5' },
    });
    const usage = { input: 900, cached_input: 200, output: 10, image: 2 };
    const terms = { serviceTier: 'flex', imageSize: '1024x1024', imageQuality: 'low' };
    const shown = presentReceipt(source(encodeReceipt({ ...facts, price, usage, terms })), 1000n);
    expect(shown.service_tier).toBe('flex');
    const line = (unit: string, quantity: number, price: string, more = {}) =>
      expect.objectContaining({ unit, quantity, unit_price_usd: price, ...more });
    expect(shown.lines).toEqual([
      line('input', 900, '2', { service_tier: 'flex', above_input_tokens: 1000 }),
      line('cached_input', 200, '2', { service_tier: 'flex', above_input_tokens: 1000 }),
      line('output', 10, '4', { service_tier: 'flex' }),
      line('image', 2, '0.005', { service_tier: 'flex', size: '1024x1024', quality: 'low' }),
      line('request', 1, '0.001'),
    ]);
    expect(shown.lines.map((one) => Object.keys(one).length)).toEqual([7, 7, 6, 8, 5]);
    const plain = presentReceipt(source(encodeReceipt({ ...facts, price, usage: { input: 1000 } })), 1000n);
    expect(plain).toMatchObject({
      service_tier: null,
      lines: [{ unit: 'input', unit_price_usd: '2' }, { unit: 'request' }],
    });
    expect(plain.lines[0]).not.toHaveProperty('above_input_tokens');
  });

  it('of a released request has no usage and no lines', () => {
    const bytes = encodeReceipt({ ...facts, usage: {}, attempts: [] });
    const shown = presentReceipt(source(bytes, { status: 'released', charged: 0n, lots: [] }), 1000n);
    expect(shown).toMatchObject({
      status: 'released',
      usage: {},
      usage_source: null,
      lines: [],
      charged: '0',
      provider: null,
    });
  });

  it.each(['held', 'recovered'] as const)('of a %s request is made of what its hold froze', (status) => {
    const shown = presentReceipt(source(encodeFrozen(frozen), { status, held: 5_000_000_000n }), 1000n);
    expect(shown).toMatchObject({
      status,
      endpoint: '/v1/chat/completions',
      model: 'gpt-4o-mini',
      price_version: 3,
      held: '5',
      usage: {},
      usage_source: status === 'recovered' ? 'recovered' : null,
      lines: [],
      attempts: [],
    });
  });
});
