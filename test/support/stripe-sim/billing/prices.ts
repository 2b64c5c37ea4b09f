/** Prices and coupons as billing reads them. */
import * as catalogue from '../catalogue.ts';
import { type Sim, StripeFault } from '../core.ts';
import type { Interval } from './calendar.ts';
import type { Coupon, Discount, Plan, Price } from './types.ts';

/** What one unit costs in `currency`, in minor units; metered prices cost nothing in advance. */
export function unitAmount(sim: Sim, price: Price, currency: string): number {
  if (price.recurring?.usage_type === 'metered') return 0;
  return catalogue.unitAmount(sim, price as catalogue.Price, currency);
}

export function intervalOf(price: Price): Interval {
  if (price.recurring === null) {
    throw new StripeFault(
      'The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.',
      {
        param: 'items[0][price]',
      },
    );
  }
  return { interval: price.recurring.interval, interval_count: price.recurring.interval_count };
}

/** `Pro`, or the price's nickname: how lines call it. */
export function nameOf(sim: Sim, price: Price): string {
  const product = sim.find<{ id: string; object: string; name: string }>('product', price.product as string);
  return product?.name ?? price.nickname ?? price.id;
}

/** The plan that Stripe still makes of a recurring price. */
export function planOf(price: Price): Plan {
  const recurring = price.recurring;
  return {
    id: price.id,
    object: 'plan',
    active: price.active,
    amount: price.unit_amount,
    amount_decimal: price.unit_amount_decimal,
    billing_scheme: price.billing_scheme,
    created: price.created,
    currency: price.currency,
    interval: recurring?.interval ?? 'month',
    interval_count: recurring?.interval_count ?? 1,
    livemode: price.livemode,
    metadata: price.metadata,
    meter: recurring?.meter ?? null,
    nickname: price.nickname,
    product: price.product as string,
    tiers_mode: price.tiers_mode,
    transform_usage: null,
    trial_period_days: recurring?.trial_period_days ?? null,
    usage_type: recurring?.usage_type ?? 'licensed',
  };
}

/** The coupon of a discount. */
export function couponOf(sim: Sim, discount: Discount): Coupon {
  return sim.get<Coupon>('coupon', discount.source.coupon as string);
}

/** What is off in `currency`, in minor units, when the coupon takes a fixed amount. */
export function amountOff(coupon: Coupon, currency: string): number {
  if (coupon.currency === currency) return coupon.amount_off ?? 0;
  return coupon.currency_options?.[currency]?.amount_off ?? 0;
}
