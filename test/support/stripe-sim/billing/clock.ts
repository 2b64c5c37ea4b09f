/**
 * What time does to billing. Each thing that is due is one row of `dues`: when, and what happens then; the clock stops at
 * each, so all happens at its own instant and in order.
 *
 *     period ends ─▶ period moves, draft ─1 h─▶ finalized, charged ─fails─▶ retried after 1, 3, 5, 7 days ─▶ unpaid | canceled
 */
import type { Sim } from '../core.ts';
import { composeBill, draftUntil, issue, movePeriods, periodLines, waitingLines } from './bill.ts';
import { DAY, HOUR } from './calendar.ts';
import { expireIncomplete, expirePending, pauseSubscription } from './cancel.ts';
import { changing } from './changes.ts';
import { attemptPayment, finalize, giveUp, methodOf, voidAndCancel } from './collect.ts';
import { endSubscription, isEnded, setStatus, subscriptionOf } from './lifecycle.ts';
import { alreadyTold, firstTime, forgetLines, settings } from './settings.ts';
import type { Invoice, Subscription } from './types.ts';

interface Due {
  at: number;
  act: () => void;
}

/** Things done at one instant: more are a fault of this file, not of time. */
const MAX_DUE = 10_000;

/** Registers billing with the simulator's clock. */
export function billingClock(sim: Sim): void {
  sim.dueAt(() => dues(sim).reduce<number | null>((min, { at }) => (min === null || at < min ? at : min), null));
  sim.onAdvance(() => {
    for (let count = 0; count < MAX_DUE; count += 1) {
      const due = dues(sim)
        .filter(({ at }) => at <= sim.now())
        .sort((a, b) => a.at - b.at)[0];
      if (due === undefined) return;
      due.act();
    }
    throw new Error('stripe-sim: billing is due again and again at the same instant');
  });
}

function dues(sim: Sim): Due[] {
  const subs = sim.all<Subscription>('subscription').filter((sub) => !isEnded(sub));
  const invoices = sim.all<Invoice>('invoice').filter(({ status }) => status === 'draft' || status === 'open');
  return [
    ...subs.reverse().flatMap((sub) => ofSubscription(sim, sub)),
    ...invoices.reverse().flatMap((each) => ofInvoice(sim, each)),
  ];
}

function ofSubscription(sim: Sim, sub: Subscription): Due[] {
  if (sub.status === 'incomplete') return [{ at: sub.created + 23 * HOUR, act: () => expireIncomplete(sim, sub) }];
  const list: Due[] = [];
  if (sub.cancel_at !== null) {
    list.push({ at: sub.cancel_at, act: () => endSubscription(sim, sub, 'cancellation_requested') });
  }
  if (sub.pause_collection?.resumes_at != null) {
    list.push({ at: sub.pause_collection.resumes_at, act: () => collectAgain(sim, sub) });
  }
  if (sub.pending_update !== null) list.push({ at: sub.pending_update.expires_at, act: () => expirePending(sim, sub) });
  if (sub.status === 'paused') return list;
  if (sub.status === 'trialing' && sub.trial_end !== null) {
    list.push({ at: sub.trial_end, act: () => endTrial(sim, sub) });
    if (!alreadyTold(sim, 'trial_will_end', `${sub.id}:${sub.trial_end}`)) {
      list.push({ at: Math.max(sub.created, sub.trial_end - 3 * DAY), act: () => trialWillEnd(sim, sub) });
    }
    return list;
  }
  const end = Math.min(...sub.items.data.map((item) => item.current_period_end));
  list.push({ at: end, act: () => renew(sim, sub) });
  const { upcomingDays } = settings(sim);
  if (upcomingDays !== null && sub.cancel_at === null && !alreadyTold(sim, 'upcoming', `${sub.id}:${end}`)) {
    list.push({ at: Math.max(sub.created, end - upcomingDays * DAY), act: () => tellUpcoming(sim, sub, end) });
  }
  return list;
}

function ofInvoice(sim: Sim, invoice: Invoice): Due[] {
  const list: Due[] = [];
  if (invoice.status === 'draft') {
    const at = invoice.automatically_finalizes_at;
    if (at !== null && invoice.auto_advance === true) list.push({ at, act: () => finalizeDraft(sim, invoice) });
    return list;
  }
  if (invoice.next_payment_attempt !== null) {
    list.push({ at: invoice.next_payment_attempt, act: () => retry(sim, invoice) });
  }
  if (invoice.due_date !== null && !alreadyTold(sim, 'overdue', invoice.id)) {
    list.push({ at: invoice.due_date, act: () => overdue(sim, invoice) });
  }
  return list;
}

function trialWillEnd(sim: Sim, sub: Subscription): void {
  firstTime(sim, 'trial_will_end', `${sub.id}:${sub.trial_end}`);
  sim.emit('customer.subscription.trial_will_end', sub);
}

/** An event whose object has no id: there is no such invoice yet. */
function tellUpcoming(sim: Sim, sub: Subscription, end: number): void {
  firstTime(sim, 'upcoming', `${sub.id}:${end}`);
  const lines = [...waitingLines(sim, sub), ...periodLines(sim, sub)];
  const { id, ...invoice } = composeBill(sim, sub, 'upcoming', lines, { start: end, end }, null);
  forgetLines(sim, id);
  sim.emit('invoice.upcoming', invoice as unknown as Invoice);
}

function endTrial(sim: Sim, sub: Subscription): void {
  const missing = sub.trial_settings?.end_behavior.missing_payment_method;
  const pays = methodOf(sim, sub) !== null;
  if (!pays && missing === 'cancel') endSubscription(sim, sub, null);
  else if (!pays && missing === 'pause') pauseSubscription(sim, sub);
  else renew(sim, sub);
}

/** The period moves on; what it costs, and what waited, is a draft for an hour. */
function renew(sim: Sim, sub: Subscription): void {
  const [first] = sub.items.data;
  const period = { start: first?.current_period_start ?? sim.now(), end: first?.current_period_end ?? sim.now() };
  changing(sim, 'customer.subscription.updated', sub, () => {
    if (sub.status === 'trialing') sub.status = 'active';
    movePeriods(sub, sim.now());
  });
  const lines = [...waitingLines(sim, sub), ...periodLines(sim, sub)];
  const invoice = composeBill(sim, sub, 'subscription_cycle', lines, period, draftUntil(sim));
  const paused = sub.pause_collection?.behavior;
  if (paused === 'keep_as_draft' || sub.status === 'unpaid') {
    invoice.auto_advance = false;
    invoice.automatically_finalizes_at = null;
    invoice.next_payment_attempt = null;
  }
  issue(sim, sub, invoice);
}

function finalizeDraft(sim: Sim, invoice: Invoice): void {
  const sub = subscriptionOf(sim, invoice);
  const paused = sub?.pause_collection?.behavior;
  invoice.next_payment_attempt = null;
  finalize(sim, invoice);
  if (invoice.status !== 'open') return;
  if (paused === 'void') voidAndCancel(sim, invoice);
  else if (paused === 'mark_uncollectible') giveUp(sim, invoice);
  else if (invoice.collection_method === 'charge_automatically') attemptPayment(sim, invoice, { scheduled: true });
}

function retry(sim: Sim, invoice: Invoice): void {
  invoice.next_payment_attempt = null;
  attemptPayment(sim, invoice, { scheduled: true });
}

function overdue(sim: Sim, invoice: Invoice): void {
  firstTime(sim, 'overdue', invoice.id);
  sim.emit('invoice.overdue', invoice);
  const sub = subscriptionOf(sim, invoice);
  if (sub?.status === 'active') setStatus(sim, sub, 'past_due');
}

function collectAgain(sim: Sim, sub: Subscription): void {
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.pause_collection = null;
  });
}
