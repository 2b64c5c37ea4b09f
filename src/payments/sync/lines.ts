/**
 * What the lines of a paid invoice grant. Pure.
 *
 * Credits follow money. A line of a plan's price grants what the plan includes, times its quantity, in proportion to how much of the
 * whole price the line asks for: its amount is before discounts, so a promotion code changes nothing, but one for all of it leaves one
 * unit. A trial, which asks for nothing, grants just what the plan includes in trials. Of prorations the parts that are charged grant,
 * less those that are given back here: an upgrade adds the difference, and a downgrade that is billed when its time is over takes nothing.
 */
import type { Included, Pack, Plan, Sold } from '../../catalog/types.ts';
import { soldLines } from './bought.ts';
import { type Interval, monthsLeft, monthsOf, periodBefore, type Stretch, split, wholeMonths } from './months.ts';
import { type GrantLine, LOT_KIND } from './post.ts';

/** A line as Stripe has it. Amounts are minor units. */
export interface LineFacts {
  id: string;
  /** Before discounts and taxes; negative: it is given back. */
  amount: bigint;
  /** Of the amount, with taxes and without discounts: what is asked for it. */
  asked: bigint;
  price: string | null;
  quantity: bigint;
  isProration: boolean;
  /** It gives back what another line charged. */
  isCredit: boolean;
  /** The invoice of that line, where Stripe says so. */
  credits: string | null;
  /** The lines of that invoice which it gives back, where Stripe says so. */
  creditedLines?: readonly string[];
  /** What it gives back is taken back of that invoice (`given-back.ts`), so it is not set off here. */
  isTakenThere: boolean;
  start: Date;
  end: Date;
}

/** A price as Stripe has it. */
export interface PriceFacts {
  /** Of one unit, in 10⁻¹² minor units of the invoice's currency; `null`: it depends on the quantity. */
  unitAmount: bigint | null;
  /** As many units are charged as one; 1 for most. */
  unitsPerCharge: bigint;
  roundsUp: boolean;
  /** `null`: it is charged once. */
  every: Interval | null;
  /** By what was used: its quantity says nothing of seats. */
  isMetered: boolean;
}

export interface InvoiceFacts {
  paidAt: Date;
  lines: readonly LineFacts[];
  /** Amounts of prorations have discounts taken off already, so that they say nothing of the share of a period. */
  isDiscounted: boolean;
  /** It bills a change of a subscription at once: what it gives back counts against a period that begins with it, too. */
  isChange: boolean;
}

/** Granted once for an account and plan, whatever subscription it comes with; `free`, which cost nothing: once within some time. */
export type Once = { plan: string; what: 'once' | 'trial' } | { plan: string; what: 'free'; withinMs: number };
export type InvoiceGrant = GrantLine & { once: Once | null };

export interface Granted {
  grants: InvoiceGrant[];
  /** Whether any of its lines is of something that the catalog sells. */
  isKnown: boolean;
}

const SCALE = 1_000_000_000_000n;

interface Share {
  part: bigint;
  whole: bigint;
}
const ALL: Share = { part: 1n, whole: 1n };
const NOTHING: Share = { part: 0n, whole: 1n };

/** What a paid invoice grants by the catalog as it is. `prices` has those of its lines that are sold. */
export function grantsOf(
  invoice: InvoiceFacts,
  soldOf: (price: string) => Sold | undefined,
  prices: ReadonlyMap<string, PriceFacts>,
): Granted {
  const grants: InvoiceGrant[] = [];
  const prorations: Proration[] = [];
  let isKnown = false;
  for (const line of invoice.lines) {
    const sold = line.price === null ? undefined : soldOf(line.price);
    const price = line.price === null ? undefined : prices.get(line.price);
    if (sold === undefined || price === undefined || line.isTakenThere) continue;
    if (sold.kind === 'pack') {
      isKnown = true;
      grants.push(...packGrants(sold.pack, line, price, invoice.paidAt));
    } else if (price.every !== null) {
      isKnown = true;
      const { included } = sold.plan;
      if (included === null || price.isMetered || line.quantity <= 0n) continue;
      const seats = price.unitAmount === 0n || line.asked === 0n ? 1n : line.quantity;
      const bought = { line, plan: sold.plan, included, price, every: price.every, seats };
      if (line.isProration) prorations.push(prorated(invoice, bought));
      else grants.push(...regularGrants(invoice, bought));
    }
  }
  const left = prorationGrants(invoice, prorations, regularEnd(invoice, prices));
  const regular = invoice.isChange ? lessBack(grants, left.back) : grants;
  return { grants: [...regular, ...left.grants].filter(({ credits }) => credits > 0n), isKnown };
}

/** Grants of periods that begin, less what was given back of the one before, as when months become a year. */
function lessBack(grants: readonly InvoiceGrant[], back: bigint): InvoiceGrant[] {
  let left = back;
  return grants.map((grant) => {
    if (grant.kind !== LOT_KIND.subscription || grant.once !== null) return grant;
    const taken = left < grant.credits ? left : grant.credits;
    left -= taken;
    return { ...grant, credits: grant.credits - taken };
  });
}

/** A line of a plan's price. */
interface Bought {
  line: LineFacts;
  plan: Plan;
  included: Included;
  price: PriceFacts;
  every: Interval;
  /** What of the quantity is paid for: whoever buys chooses that, so of what is had for nothing it says nothing. */
  seats: bigint;
}

function packGrants(pack: Pack, line: LineFacts, price: PriceFacts, paidAt: Date): InvoiceGrant[] {
  const { part, whole } = shareOf(line, price);
  if (line.amount < 0n || line.isCredit || line.quantity <= 0n) return [];
  const times = (credits: bigint): bigint => (credits * line.quantity * part) / whole;
  const sold = { ...pack, credits: times(pack.credits), bonusCredits: times(pack.bonusCredits) };
  return soldLines(sold, line.asked, paidAt, line.id).map((grant) => ({ ...grant, once: null }));
}

/** How much of the whole price a line asks for: at most all of it. A price of 0 asks for all there is. */
function shareOf({ amount, quantity, isProration }: LineFacts, price: PriceFacts): Share {
  const asked = amount < 0n ? -amount : amount;
  if (price.unitAmount === null) return asked > 0n ? ALL : NOTHING;
  const units = (quantity + (price.roundsUp ? price.unitsPerCharge - 1n : 0n)) / price.unitsPerCharge;
  const whole = price.unitAmount * units;
  // Stripe rounds to a minor unit: where less than one is missing, nothing is.
  const rounded = isProration ? asked : asked + 1n;
  if (asked * SCALE >= whole || (rounded * SCALE > whole && (asked > 0n || whole < SCALE))) return ALL;
  return { part: asked * SCALE, whole };
}

/**
 * Whether it is for a change that asks for nothing, as of a price of 0, or with a promotion code for all of it. No money says what to
 * take back when it is changed again, so it could be had again and again: it grants with the next period.
 */
function isFreeChange({ isChange }: InvoiceFacts, { asked }: LineFacts): boolean {
  return isChange && asked === 0n;
}

function regularGrants(invoice: InvoiceFacts, { line, plan, included, price, every, seats }: Bought): InvoiceGrant[] {
  const share = shareOf(line, price);
  const reason = `Included in the plan "${plan.name}"`;
  if (share.part === 0n) {
    const credits = line.amount === 0n ? included.trial : 0n;
    const trial = { line: `${line.id}:trial:${plan.name}`, kind: LOT_KIND.subscription, credits, paid: null };
    const times = {
      startsAt: null,
      expiresAt: untilRenewed(line.end),
      reason: `Included in trials of the plan "${plan.name}"`,
    };
    return [{ ...trial, ...times, once: { plan: plan.name, what: 'trial' } }];
  }
  if (included.every === 'once') {
    const credits = (included.credits * seats * share.part) / share.whole;
    const what = { line: `${line.id}:once:${plan.name}`, kind: LOT_KIND.subscription, credits, paid: line.asked };
    return [{ ...what, reason, startsAt: null, expiresAt: null, once: { plan: plan.name, what: 'once' } }];
  }
  if (isFreeChange(invoice, line)) return [];
  const months = included.every === 'month' ? monthsOf(every) : 1;
  const isWhole = share.part === share.whole;
  const total = (included.credits * seats * BigInt(Math.max(1, months)) * share.part) / share.whole;
  const stretches =
    months <= 1
      ? [{ start: line.start, end: line.end, weight: 1n }]
      : (isWhole ? wholeMonths : monthsLeft)(line.start, line.end, months);
  const all = lots({ of: line.id, paid: line.asked, paidAt: invoice.paidAt, included, reason }, total, stretches, null);
  if (line.asked !== 0n) return all;
  const once = { plan: plan.name, what: 'free' as const, withinMs: (line.end.getTime() - line.start.getTime()) / 2 };
  return all.map((grant, n) => ({ ...grant, line: n === 0 ? `${grant.line}:free:${plan.name}` : grant.line, once }));
}

/** Stripe bills a renewal when a period ends and collects it about an hour later: whoever renews is not without credits meanwhile. */
const RENEWAL_MS = 6 * 3_600_000;

function untilRenewed(end: Date): Date {
  return new Date(end.getTime() + RENEWAL_MS);
}

interface Terms {
  of: string;
  paid: bigint;
  paidAt: Date;
  included: Included;
  reason: string;
}

/**
 * A lot for each stretch. What was paid for so late that its time is over goes to the next one; where all of it is, it lasts to
 * `otherwise`, or as long as it would have, from when it was paid: money that was received grants something.
 */
function lots(terms: Terms, total: bigint, stretches: readonly Stretch[], otherwise: Date | null): InvoiceGrant[] {
  const { of, paid, paidAt, included, reason } = terms;
  const credits = split(
    total,
    stretches.map(({ weight }) => weight),
  );
  const first = stretches.findIndex(({ end }) => end > paidAt);
  const missed = first < 0 ? stretches.length : first;
  const late = credits.slice(0, missed).reduce((sum, part) => sum + part, 0n);
  const open = stretches.slice(missed).map(({ start, end }, n) => ({
    start,
    end,
    credits: credits[missed + n]! + (n === 0 ? late : 0n),
  }));
  if (open.length === 0) {
    const { start } = stretches[0]!;
    const { end } = stretches.at(-1)!;
    const length = end.getTime() - start.getTime();
    const until = otherwise !== null && otherwise > paidAt ? otherwise : new Date(paidAt.getTime() + length);
    open.push({ start: paidAt, end: until, credits: late });
  }
  return open.map((lot, n) => ({
    line: n === 0 ? of : `${of}:${n}`,
    kind: LOT_KIND.subscription,
    credits: lot.credits,
    paid: n === 0 ? paid : null,
    startsAt: n === 0 ? null : lot.start,
    expiresAt: included.rollover === 'all' ? null : n === open.length - 1 ? untilRenewed(lot.end) : lot.end,
    reason,
    once: null,
  }));
}

/** A proration, and what it comes to: negative for what is given back. */
interface Proration extends Bought {
  credits: bigint;
}

function prorated(invoice: InvoiceFacts, bought: Bought): Proration {
  const { line, price, included, every, seats } = bought;
  const isBack = line.isCredit || line.amount < 0n;
  if (!isBack && isFreeChange(invoice, line)) return { ...bought, credits: 0n };
  const byTime = invoice.isDiscounted || price.unitAmount === null || price.unitAmount === 0n;
  const { part, whole } = byTime ? shareOfTime(line, every) : shareOf(line, price);
  const months = included.every === 'month' ? Math.max(1, monthsOf(every)) : 1;
  // What comes once came with the first invoice.
  const most = included.every === 'once' ? 0n : included.credits * seats * BigInt(months);
  const credits = (most * part) / whole;
  return { ...bought, credits: isBack ? -credits : credits };
}

function shareOfTime({ start, end }: LineFacts, every: Interval): Share {
  const whole = BigInt(periodBefore(end, every));
  const part = BigInt(Math.max(0, end.getTime() - start.getTime()));
  return part < whole ? { part, whole } : ALL;
}

/** What is charged grants, less what is given back, taken off in the order of the lines: never below 0. `back`: what was not taken off. */
function prorationGrants(
  { paidAt }: InvoiceFacts,
  all: readonly Proration[],
  end: Date | null,
): { grants: InvoiceGrant[]; back: bigint } {
  let back = all.reduce((sum, { credits }) => (credits < 0n ? sum - credits : sum), 0n);
  const grants = all
    .filter(({ credits }) => credits > 0n)
    .flatMap(({ line, plan, included, every, credits }) => {
      const taken = back < credits ? back : credits;
      back -= taken;
      const months = included.every === 'month' ? monthsOf(every) : 1;
      const stretches =
        months <= 1 ? [{ start: line.start, end: line.end, weight: 1n }] : monthsLeft(line.start, line.end, months);
      const reason = `Included in the plan "${plan.name}", for the rest of a period`;
      return lots({ of: line.id, paid: line.asked, paidAt, included, reason }, credits - taken, stretches, end);
    });
  return { grants, back };
}

/** When the last period ends that the invoice is for; `null`: it is for none that begins. */
function regularEnd({ lines }: InvoiceFacts, prices: ReadonlyMap<string, PriceFacts>): Date | null {
  const ends = lines.flatMap(({ isProration, price, end }) =>
    !isProration && price !== null && prices.get(price)?.every != null ? [end.getTime()] : [],
  );
  return ends.length === 0 ? null : new Date(Math.max(...ends));
}
