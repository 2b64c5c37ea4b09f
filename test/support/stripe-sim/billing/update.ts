/** Changing a running subscription: its items, its trial, its end. Prorations wait for the next invoice or are billed now. */
import { type Sim, StripeFault } from '../core.ts';
import { restartPeriods } from './bill.ts';
import { copyOf } from './changes.ts';
import { type DiscountParam, makeDiscounts } from './discounts.ts';
import { isEnded } from './lifecycle.ts';
import { intervalOf, planOf } from './prices.ts';
import { chargeRest, creditUnused } from './prorate.ts';
import { type ItemParam, newItem, setItems, usablePrice } from './subscription-shape.ts';
import type { InvoiceItem, Subscription, SubscriptionItem } from './types.ts';
import { billUpdate, tellUpdate } from './update-bill.ts';

export interface ItemChange extends Partial<ItemParam> {
  id?: string | undefined;
  deleted?: boolean | undefined;
}

export interface SubscriptionChange {
  items?: ItemChange[];
  proration_behavior?: string | undefined;
  proration_date?: number | undefined;
  payment_behavior?: string | undefined;
  billing_cycle_anchor?: string | undefined;
  trial_end?: 'now' | number | undefined;
  cancel_at_period_end?: boolean | undefined;
  /** Null unsets, as for every field here. */
  cancel_at?: number | null | undefined;
  pause_collection?: { behavior: string; resumes_at: number | null } | null | undefined;
  default_payment_method?: string | undefined;
  discounts?: DiscountParam[] | undefined;
  metadata?: Record<string, string> | undefined;
  description?: string | null | undefined;
  collection_method?: string | undefined;
  days_until_due?: number | undefined;
  trial_settings?: { missing_payment_method: string } | undefined;
  cancellation_details?: { comment?: string | undefined; feedback?: string | undefined } | undefined;
}

/**
 * Applies the change and bills what it costs. With `error_if_incomplete` a decline is a card_error and nothing changed;
 * with `pending_if_incomplete` the change waits, as `pending_update`, until its invoice is paid.
 */
export function updateSubscription(sim: Sim, sub: Subscription, change: SubscriptionChange): Subscription {
  if (isEnded(sub)) {
    throw new StripeFault('A canceled subscription can only update its cancellation_details and metadata.', {
      code: 'resource_missing',
      param: 'id',
    });
  }
  const at = change.proration_date ?? sim.now();
  const behavior = change.proration_behavior ?? 'create_prorations';
  const prorates = behavior !== 'none' && sub.status !== 'trialing';
  const before = copyOf(sub);
  const next = nextItems(sim, sub, change.items ?? []);
  const anew = startsAnew(sub, next, change);
  const made: InvoiceItem[] = [];
  const credited = anew ? sub.items.data : changedFrom(sub.items.data, next);
  if (prorates) for (const item of credited) made.push(creditUnused(sim, sub, item, at));
  applyFields(sim, sub, change);
  setItems(sim, sub, next);
  if (anew) restartPeriods(sim, sub);
  if (prorates && !anew) {
    for (const item of changedFrom(next, before.items.data)) made.push(chargeRest(sim, sub, item, at));
  }
  const bills = anew || (behavior === 'always_invoice' && made.length > 0);
  if (bills) billUpdate(sim, sub, { before, made, anew, behavior: change.payment_behavior ?? 'allow_incomplete' });
  else tellUpdate(sim, sub, before);
  return sub;
}

/** The items after the change. What does not change stays the same object. */
function nextItems(sim: Sim, sub: Subscription, changes: ItemChange[]): SubscriptionItem[] {
  const byId = new Map(sub.items.data.map((item) => [item.id, item]));
  for (const change of changes) {
    if (change.id === undefined) {
      const [first] = sub.items.data;
      if (change.price === undefined || first === undefined) {
        throw new StripeFault('Missing required param: items[0][price].', { code: 'parameter_missing' });
      }
      const period = { start: sim.now(), end: first.current_period_end };
      const item = newItem(
        sim,
        { id: sub.id, customer: sub.customer as string },
        { ...change, price: change.price },
        period,
      );
      byId.set(item.id, item);
      continue;
    }
    const item = byId.get(change.id);
    if (item === undefined) {
      throw new StripeFault(`Invalid subscription_item id: ${change.id}`, { code: 'resource_missing', param: 'items' });
    }
    if (change.deleted === true) byId.delete(item.id);
    else byId.set(item.id, altered(sim, item, change));
  }
  if (byId.size === 0) {
    throw new StripeFault('A subscription must have at least one active plan. To cancel it, cancel the subscription.', {
      param: 'items',
    });
  }
  return [...byId.values()];
}

function altered(sim: Sim, item: SubscriptionItem, change: ItemChange): SubscriptionItem {
  const price = change.price === undefined ? item.price : copyOf(usablePrice(sim, change.price));
  return {
    ...item,
    price,
    plan: planOf(price),
    ...(change.quantity === undefined ? {} : { quantity: change.quantity }),
    metadata: change.metadata ?? item.metadata,
  };
}

/** Those of `items` that `others` does not hold with the same price and quantity. */
function changedFrom(items: SubscriptionItem[], others: SubscriptionItem[]): SubscriptionItem[] {
  return items.filter((item) => {
    const other = others.find(({ id }) => id === item.id);
    return other === undefined || other.price.id !== item.price.id || other.quantity !== item.quantity;
  });
}

/** Whether the change begins a new period now: another interval, a trial cut short, or the anchor set to now. */
function startsAnew(sub: Subscription, next: SubscriptionItem[], change: SubscriptionChange): boolean {
  if (change.billing_cycle_anchor === 'now') return true;
  if (sub.status === 'trialing') return change.trial_end === 'now';
  const [was, is] = [sub.items.data[0], next[0]];
  if (was === undefined || is === undefined) return false;
  const [before, after] = [intervalOf(was.price), intervalOf(is.price)];
  return before.interval !== after.interval || before.interval_count !== after.interval_count;
}

function applyFields(sim: Sim, sub: Subscription, change: SubscriptionChange): void {
  if (change.metadata !== undefined) sub.metadata = change.metadata;
  if (change.description !== undefined) sub.description = change.description;
  if (change.default_payment_method !== undefined) {
    sub.default_payment_method =
      change.default_payment_method === ''
        ? null
        : sim.get('payment_method', change.default_payment_method, 'default_payment_method').id;
  }
  if (change.collection_method !== undefined) sub.collection_method = change.collection_method;
  if (change.days_until_due !== undefined) sub.days_until_due = change.days_until_due;
  if (change.pause_collection !== undefined) sub.pause_collection = change.pause_collection;
  if (change.trial_settings !== undefined) {
    const missing_payment_method = change.trial_settings.missing_payment_method as 'cancel';
    sub.trial_settings = { end_behavior: { billing_cycle_anchor: null, missing_payment_method } };
  }
  if (change.discounts !== undefined) {
    const place = { customer: sub.customer as string, subscription: sub.id };
    sub.discounts = makeDiscounts(sim, change.discounts, place);
    for (const id of sub.discounts) sim.emit('customer.discount.created', sim.get('discount', id));
  }
  applyTrial(sim, sub, change);
  applyEnd(sim, sub, change);
}

function applyTrial(sim: Sim, sub: Subscription, { trial_end }: SubscriptionChange): void {
  if (trial_end === undefined) return;
  if (trial_end === 'now') {
    if (sub.status !== 'trialing') return;
    sub.status = 'active';
    sub.trial_end = sim.now();
    return;
  }
  if (sub.status !== 'trialing') {
    sub.status = 'trialing';
    sub.trial_start = sim.now();
  }
  sub.trial_end = trial_end;
  sub.billing_cycle_anchor = trial_end;
  for (const item of sub.items.data) item.current_period_end = trial_end;
}

function applyEnd(sim: Sim, sub: Subscription, change: SubscriptionChange): void {
  const { cancel_at, cancel_at_period_end, cancellation_details: told } = change;
  if (told !== undefined && sub.cancellation_details !== null) {
    if (told.comment !== undefined) sub.cancellation_details.comment = told.comment;
    if (told.feedback !== undefined) sub.cancellation_details.feedback = told.feedback as 'other';
  }
  if (cancel_at === undefined && cancel_at_period_end === undefined) return;
  sub.cancel_at_period_end = cancel_at_period_end ?? false;
  const end = Math.max(...sub.items.data.map((item) => item.current_period_end));
  sub.cancel_at = cancel_at_period_end === true ? end : (cancel_at ?? null);
  sub.canceled_at = sub.cancel_at === null ? null : sim.now();
  if (sub.cancellation_details === null) return;
  sub.cancellation_details.reason = sub.cancel_at === null ? null : 'cancellation_requested';
}
