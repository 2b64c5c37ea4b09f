/**
 * What is kept of a request beside its charge, as few bytes as will do: it is written once with every settle, and read
 * rarely. The ledger treats it as opaque. The first element is the version of the form.
 *
 *   frozen   [1, endpoint, model, price version, prices, stream, created at]                  with the hold
 *   receipt  [1, … the same …, held, usage, source, clamped to, disconnect, attempts, policy and terms]  with the settle or release
 *
 * Prices stand in full, so that the lines can be rebuilt exactly without the catalog. Policy and terms are left
 * out where there are none.
 */
import { type Price, readPrice, type Terms, type WrittenPrice, writePrice } from '../catalog/price.ts';
import { type ChargeLine, rate } from '../catalog/rating.ts';
import type { Unit, Usage } from '../catalog/units.ts';
import { formatCredits } from '../lib/money.ts';

export interface AttemptFacts {
  provider: string;
  /** The provider's own name of the model. */
  model?: string;
  /** `null`: no answer came. */
  status: number | null;
  outcome: string;
  ms: number;
}

/** What the hold freezes, so that a recovered request has a receipt too. */
export interface FrozenFacts {
  endpoint: string;
  model: string;
  priceVersion: number;
  price: Price;
  stream: boolean;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

/** Which setting of the model decided what is charged, where one had to. */
export type Policy =
  | `on_disconnect: ${'abort' | 'drain'}`
  | `on_upstream_timeout: ${'estimate' | 'free'}`
  | 'when_short: clamp';

export interface ReceiptFacts extends FrozenFacts {
  /** Nano-credits. */
  held: bigint;
  usage: Usage;
  usageSource: 'provider' | 'estimated';
  terms?: Terms | undefined;
  clampedTo: number | null;
  disconnect: 'aborted' | 'drained' | null;
  policy?: Policy | null;
  attempts: readonly AttemptFacts[];
}

const VERSION = 1;
const PRICES = new WeakMap<Price, string>();

/** A price table as JSON; it is the same for many requests, so it is written once. */
function pricesText(price: Price): string {
  let text = PRICES.get(price);
  if (text === undefined) {
    text = JSON.stringify(writePrice(price));
    PRICES.set(price, text);
  }
  return text;
}

function frozenText(f: FrozenFacts): string {
  return `${VERSION},"${f.endpoint}",${JSON.stringify(f.model)},${f.priceVersion},${pricesText(f.price)},${f.stream ? 1 : 0},${f.createdAt}`;
}

/** What is frozen with a hold, as bytes. */
export function encodeFrozen(facts: FrozenFacts): Buffer {
  return Buffer.from(`[${frozenText(facts)}]`);
}

/** A receipt as bytes: about 200 of them for a plain request. */
export function encodeReceipt(r: ReceiptFacts): Buffer {
  // A provider that knows the model by the same name need not have it said twice.
  const attempts = r.attempts.map((a) =>
    a.model === undefined || a.model === r.model
      ? [a.provider, a.status, a.outcome, a.ms]
      : [a.provider, a.status, a.outcome, a.ms, a.model],
  );
  const rest = JSON.stringify([
    r.held.toString(),
    r.usage,
    r.usageSource === 'provider' ? 'p' : 'e',
    r.clampedTo ?? 0,
    r.disconnect ?? 0,
    attempts,
    ...packLast(r.policy ?? null, r.terms ?? {}),
  ]);
  return Buffer.from(`[${frozenText(r)},${rest.slice(1)}`);
}

/** Policy, service tier, size and quality of pictures, as far as the last one that is there. */
function packLast(policy: Policy | null, { serviceTier, imageSize, imageQuality }: Terms): (string | 0)[] {
  const last = [policy ?? 0, serviceTier ?? 0, imageSize ?? 0, imageQuality ?? 0] as const;
  return last.slice(0, last.findLastIndex((one) => one !== 0) + 1);
}

function unpackLast(packed: readonly (string | 0)[]): { policy?: Policy; terms?: Terms } {
  const [policy, serviceTier, imageSize, imageQuality] = packed.map((one) => (one === 0 ? undefined : one));
  return {
    ...(policy === undefined ? {} : { policy: policy as Policy }),
    ...(packed.length <= 1 ? {} : { terms: { serviceTier, imageSize, imageQuality } }),
  };
}

type Packed = [
  version: number,
  endpoint: string,
  model: string,
  priceVersion: number,
  price: WrittenPrice,
  stream: number,
  createdAt: number,
  held?: string,
  usage?: Usage,
  source?: 'p' | 'e',
  clamped?: number,
  disconnect?: 'aborted' | 'drained' | 0,
  attempts?: [provider: string, status: number | null, outcome: string, ms: number, model?: string][],
  ...last: (string | 0)[],
];

/** Reads a receipt, or what was frozen with a hold: then `held` is null. Throws on a form of another version. */
export function decodeReceipt(bytes: Buffer): FrozenFacts & { settled: ReceiptFacts | null } {
  const packed = JSON.parse(bytes.toString()) as Packed;
  if (packed[0] !== VERSION) throw new Error(`a receipt of version ${packed[0]} cannot be read by this release`);
  const [
    ,
    endpoint,
    model,
    priceVersion,
    written,
    stream,
    createdAt,
    held,
    usage,
    source,
    clamped,
    disconnect,
    attempts,
    ...last
  ] = packed;
  const price = readPrice(written);
  const frozen: FrozenFacts = { endpoint, model, priceVersion, price, stream: stream === 1, createdAt };
  if (held === undefined) return { ...frozen, settled: null };
  const settled: ReceiptFacts = {
    ...frozen,
    held: BigInt(held),
    usage: usage ?? {},
    usageSource: source === 'p' ? 'provider' : 'estimated',
    ...unpackLast(last),
    clampedTo: clamped === 0 || clamped === undefined ? null : clamped,
    disconnect: disconnect === 0 || disconnect === undefined ? null : disconnect,
    attempts: (attempts ?? []).map(([provider, status, outcome, ms, providerModel]) => ({
      provider,
      model: providerModel ?? model,
      status,
      outcome,
      ms,
    })),
  };
  return { ...frozen, settled };
}

/** What the ledger knows of a request, for its receipt. */
export interface ReceiptSource {
  requestId: string;
  accountId: string;
  keyId: string | null;
  status: 'held' | 'settled' | 'released' | 'recovered';
  /** The receipt of the settle or release; what was frozen with the hold for one that runs, was recovered, or lapsed. */
  bytes: Buffer;
  /** Nano-credits: of a hold that is open, or ended without a receipt, its amount; `null` where the receipt says it. */
  held: bigint | null;
  /** Nano-credits; all charges of the request together, whatever was refunded afterwards. */
  charged: bigint;
  lots: { lot_id: string; credits: string }[];
  refund: Refund | null;
  settledAt: Date | null;
}

/** What was given back of a charge; debt is repaid first, so its lots may have got less than `credits`. */
export interface Refund {
  credits: string;
  reason: string;
  lots: { lot_id: string; credits: string }[];
  created_at: string;
}

/** The receipt as the customer and admin APIs show it. */
export interface Receipt {
  request_id: string;
  account_id: string;
  key_id: string | null;
  endpoint: string;
  model: string;
  provider: string | null;
  provider_model: string | null;
  status: ReceiptSource['status'];
  stream: boolean;
  usage: Record<string, number>;
  usage_source: 'provider' | 'estimated' | 'recovered' | null;
  price_version: number;
  lines: ChargeLine[];
  held: string;
  charged: string;
  clamped_to: number | null;
  disconnect: 'aborted' | 'drained' | null;
  policy: Policy | null;
  lots: { lot_id: string; credits: string }[];
  refund: Refund | null;
  attempts: Omit<AttemptFacts, 'model'>[];
  created_at: string;
  settled_at: string | null;
}

/** Endpoints are kept by a short name, and shown as the path that was called. */
const PATHS: Record<string, string> = { chat: '/v1/chat/completions' };

/** The receipt to show, with the lines that add up to its charge. Throws on bytes of another release's form. */
export function presentReceipt(source: ReceiptSource, creditsPerUsd: bigint): Receipt {
  const facts = decodeReceipt(source.bytes);
  const settled = source.status === 'recovered' ? null : facts.settled;
  const served = settled !== null && source.status === 'settled' ? settled : null;
  return {
    request_id: source.requestId,
    account_id: source.accountId,
    key_id: source.keyId,
    endpoint: PATHS[facts.endpoint] ?? facts.endpoint,
    model: facts.model,
    provider: settled?.attempts.at(-1)?.provider ?? null,
    provider_model: settled?.attempts.at(-1)?.model ?? null,
    status: source.status,
    stream: facts.stream,
    usage: served === null ? {} : totals(served.usage),
    usage_source: source.status === 'recovered' ? 'recovered' : (served?.usageSource ?? null),
    price_version: facts.priceVersion,
    lines: served === null ? [] : rate(served.usage, served.price, creditsPerUsd, served.terms).lines,
    held: formatCredits(source.held ?? settled?.held ?? 0n),
    charged: formatCredits(source.charged),
    clamped_to: settled?.clampedTo ?? null,
    disconnect: settled?.disconnect ?? null,
    policy: settled?.policy ?? null,
    lots: source.lots,
    refund: source.refund,
    attempts: (settled?.attempts ?? []).map(({ provider, status, outcome, ms }) => ({ provider, status, outcome, ms })),
    created_at: new Date(facts.createdAt).toISOString(),
    settled_at: source.settledAt?.toISOString() ?? null,
  };
}

/** Usage in the names clients know: the totals include their parts. */
function totals(usage: Usage): Record<string, number> {
  const of = (unit: Unit): number => usage[unit] ?? 0;
  const written = of('cache_write') + of('cache_write_1h');
  const cached = of('cached_input') + of('cached_input_audio') + of('cached_input_image');
  const named: Record<string, number> = {
    input_tokens: of('input') + written + cached + of('input_audio') + of('input_image'),
    cached_input_tokens: cached,
    cache_write_tokens: written,
    output_tokens: of('output') + of('reasoning') + of('output_audio') + of('output_image'),
    reasoning_tokens: of('reasoning'),
  };
  const audio = {
    input_audio_tokens: of('input_audio') + of('cached_input_audio'),
    output_audio_tokens: of('output_audio'),
  };
  for (const [name, tokens] of Object.entries(audio)) if (tokens > 0) named[name] = tokens;
  return named;
}
