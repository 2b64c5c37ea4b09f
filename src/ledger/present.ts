/**
 * Balances, lots, entries and budgets in the form of the customer and admin APIs: credits as decimal text, times RFC 3339
 * UTC, ids with their prefix.
 */
import { publicUuid } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import type { Balance, Entry, Lot, Share } from './read.ts';
import type { Budget } from './wallets.ts';

/** A lot as balances show it. */
export function presentLot(lot: Lot) {
  return {
    id: publicUuid('lot', lot.id),
    kind: lot.kind,
    granted: formatCredits(lot.granted),
    remaining: formatCredits(lot.remaining),
    priority: lot.priority,
    starts_at: lot.startsAt.toISOString(),
    expires_at: lot.expiresAt?.toISOString() ?? null,
  };
}

/** A balance with its open lots, in burn order. */
export function presentBalance(balance: Balance) {
  const { nextExpiry } = balance;
  return {
    available: formatCredits(balance.available),
    held: formatCredits(balance.held),
    posted: formatCredits(balance.posted),
    debt: formatCredits(balance.debt),
    overdraft: formatCredits(balance.overdraft),
    next_expiry:
      nextExpiry === null ? null : { at: nextExpiry.at.toISOString(), credits: formatCredits(nextExpiry.amount) },
    lots: balance.lots.map(presentLot),
  };
}

/** A budget and how it stands. `remaining` is never below 0, though late charges may exceed a budget. */
export function presentBudget({ limit, period, held, spent, resetsAt }: Budget) {
  const left = limit - spent - held;
  return {
    credits: formatCredits(limit),
    period,
    used: formatCredits(spent),
    held: formatCredits(held),
    remaining: formatCredits(left > 0n ? left : 0n),
    resets_at: resetsAt?.toISOString() ?? null,
  };
}

/** What one lot gave or got. */
export function presentShare(share: Share): { lot_id: string; credits: string } {
  return { lot_id: publicUuid('lot', share.lot), credits: formatCredits(share.amount) };
}

const OF_REQUESTS: readonly Entry['kind'][] = ['charge', 'release', 'recovered', 'late', 'reverse', 'lapse'];
/** These share the id of the entry that ended the hold of their request. */
const FURTHER: readonly Entry['kind'][] = ['late', 'reverse'];

/** An entry as a row of the ledger; `credits` is signed, seen from the wallet. */
export function presentEntry(entry: Entry) {
  const id = publicUuid('entry', entry.id);
  return {
    id: FURTHER.includes(entry.kind) ? `${id}_${entry.kind}` : id,
    seq: Number(entry.seq),
    kind: entry.kind,
    credits: formatCredits(entry.amount),
    balance_after: formatCredits(entry.balanceAfter),
    debit: entry.debit,
    credit: entry.credit,
    reference: entry.reference,
    request_id: OF_REQUESTS.includes(entry.kind) ? publicUuid('req', entry.id) : null,
    lots: sharesOf(entry).map(presentShare),
    created_at: entry.at.toISOString(),
  };
}

/** What each lot gave, or got back, whether it had been burnt or had repaid debt. */
export function sharesOf({ lots, returned }: Entry): Share[] {
  const shares = new Map(lots.map(({ lot, amount }) => [lot, amount]));
  for (const { lot, amount } of returned) shares.set(lot, (shares.get(lot) ?? 0n) + amount);
  return [...shares].map(([lot, amount]) => ({ lot, amount }));
}
