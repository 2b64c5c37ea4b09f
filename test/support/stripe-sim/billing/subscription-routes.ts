/** The routes of subscriptions and of their items. */
import { type Call, page, type Sim } from '../core.ts';
import { missing } from '../fault.ts';
import { type Form, flag, hash, hashes, metadata, needed, text, whole } from '../params.ts';
import { cancelSubscription, resumeSubscription } from './cancel.ts';
import type { DiscountParam } from './discounts.ts';
import { startSubscription } from './start.ts';
import { type ItemParam, type SubscriptionParams, subscriptionOfItem } from './subscription-shape.ts';
import type { Subscription } from './types.ts';
import { type ItemChange, type SubscriptionChange, updateSubscription } from './update.ts';

export function subscriptionRoutes(sim: Sim): void {
  sim.route('POST', '/v1/subscriptions', (call) => startSubscription(sim, createParams(call.form)).subscription);
  sim.route('GET', '/v1/subscriptions', listSubscriptions);
  sim.route('GET', '/v1/subscriptions/:id', ({ params }) => found(sim, params.id));
  sim.route('POST', '/v1/subscriptions/:id', ({ params, form }) => {
    const sub = found(sim, params.id);
    return updateSubscription(sim, sub, updateParams(form, sub));
  });
  sim.route('DELETE', '/v1/subscriptions/:id', ({ params, form, query }) => {
    const asked = { ...query, ...form };
    const told = hash(asked, 'cancellation_details');
    const sub = found(sim, params.id);
    if (told !== undefined && sub.cancellation_details !== null) {
      sub.cancellation_details.comment = text(told, 'comment') ?? null;
      sub.cancellation_details.feedback = (text(told, 'feedback') ?? null) as 'other' | null;
    }
    return cancelSubscription(sim, sub, { invoiceNow: flag(asked, 'invoice_now'), prorate: flag(asked, 'prorate') });
  });
  sim.route('POST', '/v1/subscriptions/:id/resume', ({ params }) => resumeSubscription(sim, found(sim, params.id)));
}

export function subscriptionItemRoutes(sim: Sim): void {
  sim.route('POST', '/v1/subscription_items', ({ form }) => {
    const sub = found(sim, needed(form, 'subscription'), 'subscription');
    const before = new Set(sub.items.data.map(({ id }) => id));
    if (text(form, 'price') === undefined) throw missing('price');
    updateSubscription(sim, sub, itemChange(form, {}));
    return sub.items.data.find(({ id }) => !before.has(id));
  });
  sim.route('GET', '/v1/subscription_items', (call) =>
    page(call, found(sim, needed(call.query, 'subscription'), 'subscription').items.data),
  );
  sim.route('GET', '/v1/subscription_items/:id', ({ params }) => subscriptionOfItem(sim, params.id as string).item);
  sim.route('POST', '/v1/subscription_items/:id', ({ params, form }) => {
    const { sub, item } = subscriptionOfItem(sim, params.id as string);
    updateSubscription(sim, sub, itemChange(form, { id: item.id, metadata: metadata(form, item.metadata) }));
    return subscriptionOfItem(sim, item.id).item;
  });
  sim.route('DELETE', '/v1/subscription_items/:id', ({ params, form, query }) => {
    const { sub, item } = subscriptionOfItem(sim, params.id as string);
    updateSubscription(sim, sub, itemChange({ ...query, ...form }, { id: item.id, deleted: true }));
    return { id: item.id, object: 'subscription_item', deleted: true };
  });
}

function found(sim: Sim, id: string | undefined, param?: string): Subscription {
  return sim.get<Subscription>('subscription', id ?? '', param);
}

function listSubscriptions(call: Call): unknown {
  const { query, sim } = call;
  const [customer, price, method] = [text(query, 'customer'), text(query, 'price'), text(query, 'collection_method')];
  const status = text(query, 'status');
  return sim.list<Subscription>(call, 'subscription', (sub) => {
    const fits =
      status === undefined
        ? sub.status !== 'canceled' && sub.status !== 'incomplete_expired'
        : status === 'all' ||
          sub.status === status ||
          (status === 'ended' && (sub.status === 'canceled' || sub.status === 'incomplete_expired'));
    return (
      fits &&
      (customer === undefined || sub.customer === customer) &&
      (method === undefined || sub.collection_method === method) &&
      (price === undefined || sub.items.data.some((item) => item.price.id === price))
    );
  });
}

function createParams(form: Form): SubscriptionParams {
  return {
    customer: needed(form, 'customer'),
    items: hashes(form, 'items').map(itemParam),
    currency: text(form, 'currency'),
    default_payment_method: text(form, 'default_payment_method'),
    payment_behavior: text(form, 'payment_behavior'),
    collection_method: text(form, 'collection_method'),
    days_until_due: whole(form, 'days_until_due'),
    trial_period_days: whole(form, 'trial_period_days'),
    trial_end: trialEnd(form),
    trial_settings: trialSettings(form),
    billing_cycle_anchor:
      text(form, 'billing_cycle_anchor') === 'now' ? undefined : whole(form, 'billing_cycle_anchor'),
    proration_behavior: text(form, 'proration_behavior'),
    cancel_at: whole(form, 'cancel_at'),
    cancel_at_period_end: flag(form, 'cancel_at_period_end'),
    automatic_tax: { enabled: flag(hash(form, 'automatic_tax') ?? {}, 'enabled') ?? false },
    save_default_payment_method: text(hash(form, 'payment_settings') ?? {}, 'save_default_payment_method'),
    discounts: discountParams(form),
    metadata: metadata(form),
    description: text(form, 'description'),
    off_session: flag(form, 'off_session'),
  };
}

function itemParam(form: Form): ItemParam {
  return {
    price: needed(form, 'price'),
    quantity: whole(form, 'quantity'),
    metadata: metadata(form),
    discounts: discountParams(form),
  };
}

function updateParams(form: Form, sub: Subscription): SubscriptionChange {
  const details = hash(form, 'cancellation_details');
  return {
    ...(form.items === undefined ? {} : { items: hashes(form, 'items').map((item) => itemUpdate(item, sub)) }),
    proration_behavior: text(form, 'proration_behavior'),
    proration_date: whole(form, 'proration_date'),
    payment_behavior: text(form, 'payment_behavior'),
    billing_cycle_anchor: text(form, 'billing_cycle_anchor'),
    trial_end: trialEnd(form),
    cancel_at_period_end: flag(form, 'cancel_at_period_end'),
    cancel_at: form.cancel_at === '' ? null : whole(form, 'cancel_at'),
    pause_collection: pauseCollection(form),
    default_payment_method: text(form, 'default_payment_method'),
    discounts: form.discounts === undefined ? undefined : discountParams(form),
    metadata: form.metadata === undefined ? undefined : metadata(form, sub.metadata),
    description: form.description === '' ? null : text(form, 'description'),
    collection_method: text(form, 'collection_method'),
    days_until_due: whole(form, 'days_until_due'),
    trial_settings: trialSettings(form),
    cancellation_details:
      details === undefined ? undefined : { comment: text(details, 'comment'), feedback: text(details, 'feedback') },
  };
}

function itemUpdate(form: Form, sub: Subscription): ItemChange {
  const id = text(form, 'id');
  const before = sub.items.data.find((item) => item.id === id)?.metadata;
  return {
    id,
    ...(form.price === undefined ? {} : { price: needed(form, 'price') }),
    quantity: whole(form, 'quantity'),
    deleted: flag(form, 'deleted'),
    ...(form.metadata === undefined ? {} : { metadata: metadata(form, before) }),
    ...(form.discounts === undefined ? {} : { discounts: discountParams(form) }),
  };
}

function itemChange(form: Form, change: ItemChange): SubscriptionChange {
  const item: ItemChange = {
    ...(form.price === undefined ? {} : { price: needed(form, 'price') }),
    quantity: whole(form, 'quantity'),
    metadata: metadata(form),
    ...change,
  };
  return {
    items: [item],
    proration_behavior: text(form, 'proration_behavior'),
    proration_date: whole(form, 'proration_date'),
    payment_behavior: text(form, 'payment_behavior'),
  };
}

function trialEnd(form: Form): number | 'now' | undefined {
  return text(form, 'trial_end') === 'now' ? 'now' : whole(form, 'trial_end');
}

function trialSettings(form: Form): { missing_payment_method: string } | undefined {
  const end = hash(hash(form, 'trial_settings') ?? {}, 'end_behavior');
  return end === undefined ? undefined : { missing_payment_method: needed(end, 'missing_payment_method') };
}

function pauseCollection(form: Form): SubscriptionChange['pause_collection'] {
  if (form.pause_collection === '') return null;
  const pause = hash(form, 'pause_collection');
  if (pause === undefined) return undefined;
  return { behavior: needed(pause, 'behavior'), resumes_at: whole(pause, 'resumes_at') ?? null };
}

/** `discounts`, and the older `coupon` and `promotion_code` that some still send. */
export function discountParams(form: Form): DiscountParam[] {
  const asked = hashes(form, 'discounts').map((each) => ({
    coupon: text(each, 'coupon'),
    promotion_code: text(each, 'promotion_code'),
    discount: text(each, 'discount'),
  }));
  const [coupon, promotion_code] = [text(form, 'coupon'), text(form, 'promotion_code')];
  if (coupon !== undefined && coupon !== '') asked.push({ coupon, promotion_code: undefined, discount: undefined });
  if (promotion_code !== undefined && promotion_code !== '') {
    asked.push({ coupon: undefined, promotion_code, discount: undefined });
  }
  return asked;
}
