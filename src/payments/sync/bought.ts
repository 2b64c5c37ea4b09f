/** What a payment bought, and so what it grants. Pure. */
import type { Pack } from '../../catalog/types.ts';
import { MAX_NANO } from '../../lib/money.ts';
import type { OrphanReason } from './orphans.ts';
import { type GrantLine, LOT_KIND } from './post.ts';

const DAY_MS = 86_400_000;

/** Credits as they were sold: of a checkout or a recharge, as those were when they were made. */
export interface Sold {
  name: string;
  /** Nano-credits. */
  credits: bigint;
  bonusCredits: bigint;
  /** Counted from when it was paid; `null`: never. */
  expiresDays: number | null;
}

/** A line of a session that we did not make. */
export interface Item {
  id: string;
  price: string | null;
  /** Whoever pays chooses the amount: then the price says nothing of what it is worth. */
  custom: boolean;
  quantity: number;
  /** After discounts and taxes, in minor units. */
  paid: bigint;
}

/** What is sold at the prices that Stripe knows. */
export type PackOf = (price: string) => Pack | undefined;

/** The lots of what was sold: its credits, and its bonus as a lot of its own kind. `prefix` sets several of a payment apart. */
export function soldLines(sold: Sold, paid: bigint, paidAt: Date, prefix = ''): GrantLine[] {
  const expiresAt = sold.expiresDays === null ? null : new Date(paidAt.getTime() + sold.expiresDays * DAY_MS);
  const shared = { startsAt: null, expiresAt, reason: sold.name };
  return [
    { line: prefix === '' ? 'credits' : prefix, kind: LOT_KIND.topup, credits: sold.credits, paid, ...shared },
    {
      line: prefix === '' ? 'bonus' : `${prefix}:bonus`,
      kind: LOT_KIND.bonus,
      credits: sold.bonusCredits,
      paid: null,
      ...shared,
    },
  ].filter(({ credits }) => credits > 0n);
}

/**
 * The lots of the items that are packs of the catalog, each times its quantity; other items grant nothing. Lines are named by their
 * items, so that a pack that becomes known later never takes the name of another. No item is a pack: `no_price`.
 */
export function itemLines(
  items: readonly Item[],
  packOf: PackOf,
  paidAt: Date,
): { reference: string; lines: GrantLine[] } | OrphanReason {
  const lines: GrantLine[] = [];
  let reference: string | null = null;
  for (const { id, price, custom, quantity, paid } of items) {
    const pack = price === null || custom || quantity <= 0 ? undefined : packOf(price);
    if (pack === undefined) continue;
    const times = BigInt(quantity);
    const sold = { ...pack, credits: pack.credits * times, bonusCredits: pack.bonusCredits * times };
    if (sold.credits > MAX_NANO || sold.bonusCredits > MAX_NANO) return 'too_much';
    reference ??= price;
    lines.push(...soldLines(sold, paid, paidAt, id));
  }
  return reference === null ? 'no_price' : { reference, lines };
}
