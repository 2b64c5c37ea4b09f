/** The shape of a subscription and of its items. */
import { type Sim, StripeFault } from '../core.ts';
import { copyOf } from './changes.ts';
import { type DiscountParam, makeDiscounts } from './discounts.ts';
import { planOf } from './prices.ts';
import type { Price, Subscription, SubscriptionItem } from './types.ts';

export interface ItemParam {
  price: string;
  quantity?: number | undefined;
  metadata?: Record<string, string>;
  discounts?: DiscountParam[];
}

export interface SubscriptionParams {
  customer: string;
  items: ItemParam[];
  currency?: string | undefined;
  default_payment_method?: string | undefined;
  payment_behavior?: string | undefined;
  collection_method?: string | undefined;
  days_until_due?: number | undefined;
  trial_period_days?: number | undefined;
  trial_end?: number | 'now' | undefined;
  trial_settings?: { missing_payment_method: string } | undefined;
  billing_cycle_anchor?: number | undefined;
  proration_behavior?: string | undefined;
  cancel_at?: number | undefined;
  cancel_at_period_end?: boolean | undefined;
  automatic_tax?: { enabled: boolean } | undefined;
  save_default_payment_method?: string | undefined;
  discounts?: DiscountParam[];
  metadata?: Record<string, string>;
  description?: string | undefined;
  off_session?: boolean | undefined;
}

/** A recurring price that may still be bought. */
export function usablePrice(sim: Sim, id: string): Price {
  const price = sim.get<Price>('price', id, 'items[0][price]');
  if (!price.active) {
    throw new StripeFault(`The price specified is inactive. This field only accepts active prices.`, {
      code: 'price_inactive',
      param: 'items[0][price]',
    });
  }
  return price;
}

/** An item of a subscription, with the period that it is billed for. */
export function newItem(
  sim: Sim,
  sub: { id: string; customer: string },
  param: ItemParam,
  period: { start: number; end: number },
): SubscriptionItem {
  const price = usablePrice(sim, param.price);
  const id = sim.id('si');
  const place = { customer: sub.customer, subscription: sub.id, subscription_item: id };
  return {
    id,
    object: 'subscription_item',
    billing_thresholds: null,
    created: sim.now(),
    current_period_end: period.end,
    current_period_start: period.start,
    current_trial: null,
    discounts: makeDiscounts(sim, param.discounts ?? [], place),
    metadata: param.metadata ?? {},
    plan: planOf(price),
    price: copyOf(price),
    ...(price.recurring?.usage_type === 'metered' ? {} : { quantity: param.quantity ?? 1 }),
    subscription: sub.id,
    tax_rates: [],
  };
}

/** A subscription without items and status, as it begins: incomplete. */
export function blankSubscription(sim: Sim, id: string, params: SubscriptionParams, currency: string): Subscription {
  const behavior = (params.trial_settings?.missing_payment_method ?? 'create_invoice') as 'create_invoice';
  return {
    id,
    object: 'subscription',
    application: null,
    application_fee_percent: null,
    automatic_tax: {
      disabled_reason: null,
      enabled: params.automatic_tax?.enabled ?? false,
      liability: params.automatic_tax?.enabled === true ? { type: 'self' } : null,
    },
    billing_cycle_anchor: sim.now(),
    billing_cycle_anchor_config: null,
    billing_mode: { flexible: { proration_discounts: 'included' }, type: 'flexible' },
    billing_schedules: [],
    billing_thresholds: null,
    cancel_at: params.cancel_at ?? null,
    cancel_at_period_end: false,
    canceled_at: params.cancel_at === undefined ? null : sim.now(),
    cancellation_details: { comment: null, feedback: null, feedback_option: null, reason: null },
    collection_method: params.collection_method ?? 'charge_automatically',
    created: sim.now(),
    currency,
    customer: params.customer,
    customer_account: null,
    days_until_due: params.days_until_due ?? null,
    default_payment_method: params.default_payment_method ?? null,
    default_source: null,
    default_tax_rates: [],
    description: params.description ?? null,
    discounts: makeDiscounts(sim, params.discounts ?? [], { customer: params.customer, subscription: id }),
    ended_at: null,
    invoice_settings: {
      account_tax_ids: null,
      custom_fields: null,
      description: null,
      footer: null,
      issuer: { type: 'self' },
    },
    items: {
      object: 'list',
      data: [],
      has_more: false,
      total_count: 0,
      url: `/v1/subscription_items?subscription=${id}`,
    },
    latest_invoice: null,
    livemode: sim.livemode,
    managed_payments: null,
    metadata: params.metadata ?? {},
    next_pending_invoice_item_invoice: null,
    on_behalf_of: null,
    pause_collection: null,
    payment_settings: {
      payment_method_options: null,
      payment_method_types: null,
      save_default_payment_method: (params.save_default_payment_method ?? 'off') as 'off',
    },
    pending_invoice_item_interval: null,
    pending_setup_intent: null,
    pending_update: null,
    schedule: null,
    start_date: sim.now(),
    status: 'incomplete',
    test_clock: null,
    transfer_data: null,
    trial_end: null,
    trial_settings: { end_behavior: { billing_cycle_anchor: null, missing_payment_method: behavior } },
    trial_start: null,
  };
}

/** Sets the items, keeping the list's count and an index from each to its subscription. */
export function setItems(sim: Sim, sub: Subscription, items: SubscriptionItem[]): void {
  sub.items.data = items;
  sub.items.total_count = items.length;
  for (const item of items) sim.side<string>('billing.items').set(item.id, sub.id);
}

/** The subscription of an item, 404 when there is none. */
export function subscriptionOfItem(sim: Sim, item: string): { sub: Subscription; item: SubscriptionItem } {
  const sub = sim.find<Subscription>('subscription', sim.side<string>('billing.items').get(item) ?? '');
  const found = sub?.items.data.find(({ id }) => id === item);
  if (sub === undefined || found === undefined) {
    throw new StripeFault(`Invalid subscription_item id: ${item}`, {
      status: 404,
      code: 'resource_missing',
      param: 'item',
    });
  }
  return { sub, item: found };
}
