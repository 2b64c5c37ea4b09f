/** A receipt as the customer API shows it; the admin API adds what `receipt-margin.ts` says. */
import type { Price, Terms, Tier } from '../catalog/price.ts';
import { type ChargeLine, inputTokens, rate } from '../catalog/rating.ts';
import type { PriceSource } from '../catalog/types.ts';
import { fallbacksOf, isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import type { OnOrphan } from '../ledger/outcomes.ts';
import { formatCredits } from '../lib/money.ts';
import { type AttemptFacts, decodeReceipt, NO_ENTRY, type Policy, type ReceiptFacts } from './receipt.ts';

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
  /** What decided the charge, where the gateway died before it could; `null`: it did not. */
  onOrphan: OnOrphan | null;
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

/** A line of a charge, with what chose its price where that is not the plain one. */
export interface ReceiptLine extends Omit<ChargeLine, 'unit' | 'unit_price_usd'> {
  /** Of an operation, its name as `operation:<name>`; of an amount that the host application named, `credits`. */
  unit: string;
  /** `null`: it costs credits, each `unit_price_credits`. */
  unit_price_usd: string | null;
  unit_price_credits?: string;
  service_tier?: string;
  above_input_tokens?: number;
  size?: string;
  quality?: string;
  /** Of pictures that a tool drew: the model whose price this is, and the version of its entry. */
  model?: string;
  price_version?: number;
}

/** The receipt as the customer API shows it. */
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
  usage_source: ReceiptFacts['usageSource'] | 'recovered' | null;
  /** Of the model's or the operation's entry; `null`: there is none. */
  price_version: number | null;
  /** Whose price was charged. */
  price_source: 'model' | 'plan' | 'account';
  /** Where it was not the model's: the version of the account's own price, or the plan and its version. */
  price_override: { plan?: string; version: number } | null;
  /** The service tier that the answer names. */
  service_tier: string | null;
  lines: ReceiptLine[];
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
const PATHS: Record<string, string> = {
  chat: '/v1/chat/completions',
  responses: '/v1/responses',
  'responses-input_tokens': '/v1/responses/input_tokens',
  'responses-compact': '/v1/responses/compact',
  completions: '/v1/completions',
  embeddings: '/v1/embeddings',
  moderations: '/v1/moderations',
  images: '/v1/images/generations',
  'images-edit': '/v1/images/edits',
  'images-var': '/v1/images/variations',
  speech: '/v1/audio/speech',
  transcriptions: '/v1/audio/transcriptions',
  translations: '/v1/audio/translations',
  usage: '/account/v1/usage',
  hold: '/account/v1/holds',
};

/** What was served and is told of: the facts of a settled request; `null` of any other. */
export function servedFacts(source: ReceiptSource): ReceiptFacts | null {
  return source.status === 'settled' ? decodeReceipt(source.bytes).settled : null;
}

/** The receipt to show, with the lines that add up to its charge. Throws `UnreadableReceipt` on another release's form. */
export function presentReceipt(source: ReceiptSource, creditsPerUsd: bigint): Receipt {
  const facts = decodeReceipt(source.bytes);
  const settled = source.status === 'recovered' ? null : facts.settled;
  const served = servedFacts(source);
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
    usage: served === null || served.fixed ? {} : presentUsage(served.usage),
    usage_source: source.status === 'recovered' ? 'recovered' : (served?.usageSource ?? null),
    price_version: facts.priceVersion === NO_ENTRY ? null : facts.priceVersion,
    ...presentSource(facts.priceSource ?? null),
    service_tier: served?.terms?.serviceTier ?? null,
    lines: served === null ? [] : linesOf(served, creditsPerUsd),
    held: formatCredits(source.held ?? settled?.held ?? 0n),
    charged: formatCredits(source.charged),
    clamped_to: settled?.clampedTo ?? null,
    disconnect: settled?.disconnect ?? null,
    policy: source.onOrphan === null ? (settled?.policy ?? null) : `on_orphan: ${source.onOrphan}`,
    lots: source.lots,
    refund: source.refund,
    attempts: (settled?.attempts ?? []).map(({ provider, status, outcome, ms }) => ({ provider, status, outcome, ms })),
    created_at: new Date(facts.createdAt).toISOString(),
    settled_at: source.settledAt?.toISOString() ?? null,
  };
}

function presentSource(source: PriceSource | null): Pick<Receipt, 'price_source' | 'price_override'> {
  if (source === null) return { price_source: 'model', price_override: null };
  const { kind, ...override } = source;
  return { price_source: kind, price_override: override };
}

function linesOf({ model, fixed, usage, price, terms = {} }: ReceiptFacts, creditsPerUsd: bigint): ReceiptLine[] {
  if (fixed) {
    const { credits, quantity } = fixed;
    const each = { unit_price_usd: null, unit_price_credits: formatCredits(credits), per: 1 };
    return [{ unit: model, quantity, ...each, credits: formatCredits(credits * BigInt(quantity)) }];
  }
  const input = inputTokens(usage);
  const tier = price.tiers.findLast(({ aboveInputTokens }) => input > aboveInputTokens);
  return rate(usage, price, creditsPerUsd, terms).lines.map((line) => ({
    ...line,
    ...choiceOf(line.unit, price, tier, terms),
  }));
}

/** What chose the price of a unit. A service tier is about tokens and pictures, as in `catalog/price.ts`. */
function choiceOf(unit: Unit, price: Price, tier: Tier | undefined, terms: Terms): Partial<ReceiptLine> {
  const { serviceTier, imageSize, imageQuality } = terms;
  const choice: Partial<ReceiptLine> = {};
  const ofTheModel = isInput(unit) || isOutput(unit) || unit === 'image';
  if (ofTheModel && serviceTier !== undefined && Object.hasOwn(price.serviceTiers, serviceTier)) {
    choice.service_tier = serviceTier;
  }
  if (tier !== undefined) {
    const units = { ...price.units, ...tier.units };
    const priced = [unit, ...fallbacksOf(unit)].find((one) => units[one] !== undefined);
    if (priced !== undefined && tier.units[priced] !== undefined) choice.above_input_tokens = tier.aboveInputTokens;
  }
  if (unit === 'image' && price.images !== null) {
    if (imageSize !== undefined) choice.size = imageSize;
    if (imageQuality !== undefined) choice.quality = imageQuality;
  }
  if (terms.painter !== undefined && unit.endsWith('image')) {
    choice.model = terms.painter.model;
    choice.price_version = terms.painter.priceVersion;
  }
  return choice;
}

/**
 * Usage in the names clients know. Totals include their parts, and parts theirs: `input_tokens` all that was read, cached or
 * not, of which `cached_input_tokens`, of which `cached_input_audio_tokens`. Each unit can be told from them. Calls of a tool
 * stand under the name of its unit, such as `tool:web_search`.
 */
export function presentUsage(usage: Usage): Record<string, number> {
  const sum = (...units: Unit[]): number => units.reduce((all, unit) => all + (usage[unit] ?? 0), 0);
  const units = Object.keys(usage) as Unit[];
  const named: Record<string, number> = {
    input_tokens: sum(...units.filter(isInput)),
    cached_input_tokens: sum('cached_input', 'cached_input_audio', 'cached_input_image'),
    cache_write_tokens: sum('cache_write', 'cache_write_1h'),
    output_tokens: sum(...units.filter(isOutput)),
    reasoning_tokens: sum('reasoning'),
  };
  const rare: Record<string, number> = {
    cache_write_1h_tokens: sum('cache_write_1h'),
    input_audio_tokens: sum('input_audio', 'cached_input_audio'),
    cached_input_audio_tokens: sum('cached_input_audio'),
    input_image_tokens: sum('input_image', 'cached_input_image'),
    cached_input_image_tokens: sum('cached_input_image'),
    output_audio_tokens: sum('output_audio'),
    output_image_tokens: sum('output_image'),
    images: sum('image'),
    input_seconds: sum('second_input'),
    output_seconds: sum('second_output'),
    characters: sum('character'),
  };
  for (const unit of units.filter((one) => one.startsWith('tool:')).sort()) rare[unit] = sum(unit);
  for (const [name, quantity] of Object.entries(rare)) if (quantity > 0) named[name] = quantity;
  return named;
}
