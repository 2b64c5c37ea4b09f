/** A receipt as the customer and admin APIs show it. */
import { type ChargeLine, rate } from '../catalog/rating.ts';
import type { Unit, Usage } from '../catalog/units.ts';
import { formatCredits } from '../lib/money.ts';
import { type AttemptFacts, decodeReceipt, type Policy } from './receipt.ts';

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
