/** Credits of payments that were taken back, as simply as it can be said: what of each payment is with the book clawback. */
import type { Clawback } from './clawback-rig.ts';
import { type ModelLots, max, type Shares } from './model-lots.ts';

interface OfPayment {
  taken: bigint;
  /** What each lot gave and has not got back. */
  paid: Shares;
  /** The lots that gave, the last one last. */
  order: string[];
}

export class ModelClawbacks {
  readonly asked = new Map<string, Clawback>();
  readonly byPayment = new Map<string, OfPayment>();

  /** Answers the outcome, or the name of the constraint that refuses it. Time has passed before. */
  answer(asked: Clawback, lots: ModelLots, now: number): string {
    const before = this.asked.get(asked.reference);
    if (before !== undefined) {
      if (before.amount !== asked.amount) return 'exists_with_different_amount';
      return before.payment === asked.payment ? 'repeated' : 'exists_with_different_book';
    }
    const of = this.byPayment.get(asked.payment) ?? { taken: 0n, paid: {}, order: [] };
    const own = lots.all.filter((lot) => asked.lots.includes(lot.id));
    const granted = own.reduce((sum, lot) => sum + lot.granted, 0n);
    if (asked.amount > of.taken) return 'clawback_returns_what_was_taken';
    if (asked.amount < 0n && of.taken - asked.amount > granted) return 'clawback_is_within_the_grant';
    this.byPayment.set(asked.payment, of);
    this.asked.set(asked.reference, asked);
    of.taken -= asked.amount;
    if (asked.amount > 0n) {
      const first = [...of.order].reverse();
      lots.book('adjust', asked.amount, lots.giveBack(asked.amount, of.paid, 'adjust', now, first));
      return 'done';
    }
    const references = own.map((lot) => lot.reference);
    const shares = lots.claw(-asked.amount, references, now);
    lots.book('adjust', asked.amount, shares);
    of.order = [...of.order.filter((lot) => shares[lot] === undefined), ...Object.keys(shares)];
    for (const [lot, part] of Object.entries(shares)) of.paid[lot] = (of.paid[lot] ?? 0n) + part;
    return 'done';
  }

  taken(payment: string): bigint {
    return max(0n, this.byPayment.get(payment)?.taken ?? 0n);
  }
}
