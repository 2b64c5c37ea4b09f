/**
 * What is kept of a request beside its charge, as few bytes as will do: it is written once with every settle, and read
 * rarely. The ledger treats it as opaque. The first element is the version of the form.
 *
 *   frozen   [1, endpoint, model, price version, prices, stream, created at]                  with the hold
 *   receipt  [1, … the same …, held, usage, source, clamped to, disconnect, attempts, policy and terms]  with the settle or release
 *
 * Prices stand in full, so that the lines can be rebuilt exactly without the catalog. Policy and terms are left
 * out where there are none. Where the price is not the model's own, the price version is a list: the version of the model's entry,
 * that of the price, and the plan whose price it is, if it is not the account's. What costs credits by its name, and not by a
 * price, has those and how many instead of prices.
 */
import { flatPrice, type Price, readPrice, type Terms, type WrittenPrice, writePrice } from '../catalog/price.ts';
import type { PriceSource } from '../catalog/types.ts';
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import type { OnOrphan } from '../ledger/outcomes.ts';
import { formatCredits, parseCredits } from '../lib/money.ts';

export interface AttemptFacts {
  provider: string;
  /** The provider's own name of the model. */
  model?: string;
  /** `null`: no answer came. */
  status: number | null;
  outcome: string;
  ms: number;
}

/** What a thing costs that has no price by units: an operation of the host application, or an amount that it names. */
export interface Fixed {
  /** Nano-credits, each. */
  credits: bigint;
  quantity: number;
}

/** What the hold freezes, so that a recovered request has a receipt too. */
export interface FrozenFacts {
  endpoint: string;
  /** Of what has none: `operation:<name>`, or `credits`. */
  model: string;
  /** Of the model's entry: its cost, and its price unless `priceSource` has another. */
  priceVersion: number;
  price: Price;
  /** What it costs in place of a price. */
  fixed?: Fixed | null;
  /** Whose price it is, where it is not the model's own. */
  priceSource?: PriceSource | null;
  stream: boolean;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

/** Which setting of the model decided what is charged, where one had to. */
export type Policy =
  | `on_disconnect: ${'abort' | 'drain'}`
  | `on_upstream_timeout: ${'estimate' | 'free'}`
  | 'when_short: clamp'
  | `on_orphan: ${OnOrphan}`;

export interface ReceiptFacts extends FrozenFacts {
  /** Nano-credits. */
  held: bigint;
  usage: Usage;
  /** `reported`: by the host application. */
  usageSource: 'provider' | 'estimated' | 'reported';
  terms?: Terms | undefined;
  clampedTo: number | null;
  disconnect: 'aborted' | 'drained' | null;
  policy?: Policy | null;
  attempts: readonly AttemptFacts[];
}

/** The price version of what has no entry in the catalog: their versions begin at 1. */
export const NO_ENTRY = 0;
const VERSION = 1;
/** By their first letters, which is how they are kept. */
const SOURCES = { p: 'provider', e: 'estimated', r: 'reported' } as const;
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

function costText({ fixed, price }: FrozenFacts): string {
  if (!fixed) return pricesText(price);
  return JSON.stringify({ credits: formatCredits(fixed.credits), quantity: fixed.quantity } satisfies WrittenFixed);
}

interface WrittenFixed {
  credits: string;
  quantity: number;
}

function unpackCost(written: WrittenPrice | WrittenFixed): Pick<FrozenFacts, 'price' | 'fixed'> {
  if (!('quantity' in written)) return { price: readPrice(written) };
  const { credits, quantity } = written as WrittenFixed;
  return { price: flatPrice({}), fixed: { credits: parseCredits(credits)!, quantity } };
}

function frozenText(f: FrozenFacts): string {
  return `${VERSION},"${f.endpoint}",${JSON.stringify(f.model)},${versionText(f)},${costText(f)},${f.stream ? 1 : 0},${f.createdAt}`;
}

type PackedVersion = number | [model: number, override: number, plan?: string];

function versionText({ priceVersion, priceSource: source }: FrozenFacts): string {
  if (!source) return String(priceVersion);
  const plan = source.kind === 'plan' ? [source.plan] : [];
  return JSON.stringify([priceVersion, source.version, ...plan]);
}

function unpackVersion(packed: PackedVersion): Pick<FrozenFacts, 'priceVersion' | 'priceSource'> {
  if (typeof packed === 'number') return { priceVersion: packed };
  const [priceVersion, version, plan] = packed;
  return {
    priceVersion,
    priceSource: plan === undefined ? { kind: 'account', version } : { kind: 'plan', plan, version },
  };
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
    r.usageSource[0],
    r.clampedTo ?? 0,
    r.disconnect ?? 0,
    attempts,
    ...packLast(r.policy ?? null, r.terms ?? {}),
  ]);
  return Buffer.from(`[${frozenText(r)},${rest.slice(1)}`);
}

/** No name in a price has as many characters, or others than these: one that is cut to them still is none of them. */
const MOST_TERM_CHARS = 41;
const NOT_IN_A_PRICE = /[^\w .:/+-]/g;

/**
 * Policy, service tier, size and quality of pictures, the model that drew them for a tool and its version, as far as the last one that
 * is there. Providers name the tier, the size and the quality.
 */
function packLast(policy: Policy | null, { serviceTier, imageSize, imageQuality, painter }: Terms): (string | 0)[] {
  const terms = [serviceTier, imageSize, imageQuality].map(
    (term) => term?.slice(0, MOST_TERM_CHARS).replace(NOT_IN_A_PRICE, '?') ?? 0,
  );
  const drawnBy = painter === undefined ? [] : [painter.model, String(painter.priceVersion)];
  const last: (string | 0)[] = [policy ?? 0, ...terms, ...drawnBy];
  return last.slice(0, last.findLastIndex((one) => one !== 0) + 1);
}

function unpackLast(packed: readonly (string | 0)[]): { policy?: Policy; terms?: Terms } {
  const [policy, serviceTier, imageSize, imageQuality, drawnBy, version] = packed.map((one) =>
    one === 0 ? undefined : one,
  );
  const painter = drawnBy === undefined ? {} : { painter: { model: drawnBy, priceVersion: Number(version) } };
  return {
    ...(policy === undefined ? {} : { policy: policy as Policy }),
    ...(packed.length <= 1 ? {} : { terms: { serviceTier, imageSize, imageQuality, ...painter } }),
  };
}

type Packed = [
  version: number,
  endpoint: string,
  model: string,
  priceVersion: PackedVersion,
  cost: WrittenPrice | WrittenFixed,
  stream: number,
  createdAt: number,
  held?: string,
  usage?: Usage,
  source?: keyof typeof SOURCES,
  clamped?: number,
  disconnect?: 'aborted' | 'drained' | 0,
  attempts?: [provider: string, status: number | null, outcome: string, ms: number, model?: string][],
  ...last: (string | 0)[],
];

/** Written by another release, or not by Tollgate. */
export class UnreadableReceipt extends Error {}

function unpack(bytes: Buffer): Packed {
  let packed: unknown;
  try {
    packed = JSON.parse(bytes.toString());
  } catch (cause) {
    throw new UnreadableReceipt('a receipt is no JSON', { cause });
  }
  const version: unknown = Array.isArray(packed) ? packed[0] : undefined;
  if (version !== VERSION)
    throw new UnreadableReceipt(`a receipt of version ${version} cannot be read by this release`);
  return packed as Packed;
}

/** Reads a receipt, or what was frozen with a hold: then `held` is null. Throws `UnreadableReceipt` on another form. */
export function decodeReceipt(bytes: Buffer): FrozenFacts & { settled: ReceiptFacts | null } {
  const packed = unpack(bytes);
  const [
    ,
    endpoint,
    model,
    packedVersion,
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
  const frozen: FrozenFacts = {
    endpoint,
    model,
    ...unpackVersion(packedVersion),
    ...unpackCost(written),
    stream: stream === 1,
    createdAt,
  };
  if (held === undefined) return { ...frozen, settled: null };
  const settled: ReceiptFacts = {
    ...frozen,
    held: BigInt(held),
    usage: usage ?? {},
    usageSource: SOURCES[source ?? 'e'],
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

/**
 * The model and the tokens that a receipt, or what was frozen with a hold, tells of; for sums over many, so that no price is
 * read. Throws `UnreadableReceipt` on another form.
 */
export function readCounts(bytes: Buffer): { model: string; input: number; output: number } {
  const [, , model, , , , , , usage = {}] = unpack(bytes);
  const counts = { model, input: 0, output: 0 };
  for (const unit in usage) {
    if (isInput(unit as Unit)) counts.input += usage[unit as Unit]!;
    else if (isOutput(unit as Unit)) counts.output += usage[unit as Unit]!;
  }
  return counts;
}
