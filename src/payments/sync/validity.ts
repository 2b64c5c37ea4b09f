/**
 * Until when a subscription allows the plans of its items. Pure: whoever syncs it again at another time gets the same, so that a lost
 * event ends by itself.
 *
 *   trialing, active ──▶ the end of the period, and some days: a renewal is paid an hour after it, and may be tried again
 *   past_due, or its collection is paused ──▶ the end of what was paid last, and the days of grace
 *   cancels at an instant ──▶ that instant, exactly, where the above is later
 *   canceled ──▶ when it ended        incomplete, unpaid, paused ──▶ not at all
 */

export interface SubscriptionFacts {
  status: string;
  /** The latest end of its items' periods; `null`: it has none. */
  periodEnd: Date | null;
  trialEnd: Date | null;
  cancelAt: Date | null;
  cancelsAtPeriodEnd: boolean;
  isCollectionPaused: boolean;
  /** The end of the last period that was paid; `null`: none was. */
  paidUntil: Date | null;
}

const DAY_MS = 86_400_000;
/** A renewal is billed when the period ends and paid about an hour later; an event of it may be late by more. */
const RENEWAL_DAYS = 2;

/** Until when a plan is allowed that is kept for `graceDays` unpaid; `null`: not at all. It may have passed. */
export function allowedUntil(facts: SubscriptionFacts, graceDays: number): Date | null {
  const until = renewedUntil(facts, graceDays);
  const cancelled = facts.cancelAt ?? (facts.cancelsAtPeriodEnd ? facts.periodEnd : null);
  if (until === null || cancelled === null) return until;
  return cancelled < until ? cancelled : until;
}

function renewedUntil(facts: SubscriptionFacts, graceDays: number): Date | null {
  const { status, periodEnd, trialEnd, paidUntil, isCollectionPaused } = facts;
  const after = (end: Date | null, days: number): Date | null =>
    end === null ? null : new Date(end.getTime() + days * DAY_MS);
  const slack = Math.max(graceDays, RENEWAL_DAYS);
  switch (status) {
    case 'trialing':
      return after(trialEnd ?? periodEnd, slack);
    case 'active':
      return isCollectionPaused ? after(paidUntil, graceDays) : after(periodEnd, slack);
    case 'past_due':
      return after(paidUntil, graceDays);
    default:
      return null;
  }
}
