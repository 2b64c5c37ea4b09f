/** Budgets, as simply as they can be said: what a key, or the account over all its keys, has held and spent in its period. */

import type { Period } from '../../src/ledger/wallets.ts';

export interface ModelBudget {
  limit: bigint;
  period: Period;
  /** Milliseconds. */
  periodStart: number;
  held: bigint;
  spent: bigint;
}

/** The account itself among its keys. */
export const ACCOUNT_ITSELF = 0n;

/** When the period of an instant began, in UTC; both in milliseconds. */
export function periodFloor(period: Period, now: number): number {
  const at = new Date(now);
  if (period === 'total') return Number.NEGATIVE_INFINITY;
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), period === 'day' ? at.getUTCDate() : 1);
}

export class ModelBudgets {
  readonly byKey = new Map<bigint, ModelBudget>();

  /** A period that is over takes its counts along. */
  pass(now: number): void {
    for (const budget of this.byKey.values()) {
      const start = periodFloor(budget.period, now);
      if (start > budget.periodStart) Object.assign(budget, { periodStart: start, held: 0n, spent: 0n });
    }
  }

  /** What a budget leaves for a hold that was opened at `openedAt`; `null`: there is none, or it is one of another period. */
  room(key: bigint, openedAt: number): bigint | null {
    const budget = this.byKey.get(key);
    if (budget === undefined || budget.periodStart > openedAt) return null;
    return budget.limit - budget.held - budget.spent;
  }

  /** Counts for the key and the account, in the period that holds `at`. What comes back returns to a budget in total alone. */
  count(key: bigint, at: number, held: bigint, spent: bigint): void {
    for (const each of [ACCOUNT_ITSELF, key]) {
      const budget = this.byKey.get(each);
      if (budget === undefined || budget.periodStart > at) continue;
      budget.held += held;
      if (spent > 0n || budget.period === 'total') budget.spent += spent;
    }
  }
}
