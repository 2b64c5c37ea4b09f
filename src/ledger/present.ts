/** Balances, lots and entries in the form of the customer and admin APIs: credits as decimal text, times RFC 3339 UTC. */
import { publicUuid } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import type { Balance, Entry, Lot, Share } from './read.ts';

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

export function presentShare(share: Share): { lot_id: string; credits: string } {
  return { lot_id: publicUuid('lot', share.lot), credits: formatCredits(share.amount) };
}

const OF_REQUESTS: readonly Entry['kind'][] = ['charge', 'release', 'recovered', 'late'];

export function presentEntry(entry: Entry) {
  // The late transfer of a request shares the id of the entry that ended its hold.
  const id = publicUuid('entry', entry.id);
  return {
    id: entry.kind === 'late' ? `${id}_late` : id,
    seq: Number(entry.seq),
    kind: entry.kind,
    credits: formatCredits(entry.amount),
    balance_after: formatCredits(entry.balanceAfter),
    debit: entry.debit,
    credit: entry.credit,
    reference: entry.reference,
    request_id: OF_REQUESTS.includes(entry.kind) ? publicUuid('req', entry.id) : null,
    lots: entry.lots.map(presentShare),
    created_at: entry.at.toISOString(),
  };
}
