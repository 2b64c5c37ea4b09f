/** Discounts: from a coupon or a promotion code onto a subscription, an item or an invoice. */
import { type Sim, StripeFault } from '../core.ts';
import { addIntervals } from './calendar.ts';
import { couponOf } from './prices.ts';
import type { Coupon, Discount, PromotionCode } from './types.ts';

export interface DiscountParam {
  coupon?: string | undefined;
  promotion_code?: string | undefined;
  discount?: string | undefined;
}

interface Place {
  customer: string;
  subscription?: string;
  subscription_item?: string;
  invoice?: string;
  invoice_item?: string;
}

/** Makes (and keeps) the discounts that were asked for; one that exists already is kept as it is. Returns their ids. */
export function makeDiscounts(sim: Sim, asked: DiscountParam[], place: Place): string[] {
  return asked.map((param) => {
    if (param.discount !== undefined) return sim.get<Discount>('discount', param.discount, 'discounts').id;
    const code = param.promotion_code === undefined ? null : usableCode(sim, param.promotion_code);
    const coupon = usableCoupon(sim, code === null ? (param.coupon ?? '') : codesCoupon(code));
    coupon.times_redeemed += 1;
    if (code !== null) code.times_redeemed += 1;
    return sim.put(newDiscount(sim, coupon, code?.id ?? null, place)).id;
  });
}

/** Unmakes discounts of what came to nothing: they may be redeemed again. */
export function unmakeDiscounts(sim: Sim, ids: string[]): void {
  for (const id of ids) {
    const discount = sim.get<Discount>('discount', id);
    couponOf(sim, discount).times_redeemed -= 1;
    if (discount.promotion_code !== null) {
      sim.get<PromotionCode>('promotion_code', discount.promotion_code as string).times_redeemed -= 1;
    }
    sim.remove(discount);
  }
}

function newDiscount(sim: Sim, coupon: Coupon, code: string | null, place: Place): Discount {
  const months = coupon.duration === 'repeating' ? (coupon.duration_in_months ?? 1) : null;
  return {
    id: sim.id('di'),
    object: 'discount',
    checkout_session: null,
    customer: place.customer,
    customer_account: null,
    end: months === null ? null : addIntervals(sim.now(), { interval: 'month', interval_count: 1 }, months),
    invoice: place.invoice ?? null,
    invoice_item: place.invoice_item ?? null,
    promotion_code: code,
    source: { coupon: coupon.id, type: 'coupon' },
    start: sim.now(),
    subscription: place.subscription ?? null,
    subscription_item: place.subscription_item ?? null,
  };
}

function codesCoupon(code: PromotionCode): string {
  return code.promotion.coupon as string;
}

function usableCoupon(sim: Sim, id: string): Coupon {
  const coupon = sim.get<Coupon>('coupon', id, 'discounts');
  const spent = coupon.max_redemptions !== null && coupon.times_redeemed >= coupon.max_redemptions;
  if (!coupon.valid || spent || (coupon.redeem_by !== null && coupon.redeem_by <= sim.now())) {
    throw new StripeFault(`Coupon expired: ${id}`, { code: 'coupon_expired', param: 'discounts' });
  }
  return coupon;
}

function usableCode(sim: Sim, id: string): PromotionCode {
  const code = sim.get<PromotionCode>('promotion_code', id, 'discounts');
  const spent = code.max_redemptions !== null && code.times_redeemed >= code.max_redemptions;
  if (!code.active || spent || (code.expires_at !== null && code.expires_at <= sim.now())) {
    throw new StripeFault('This promotion code is invalid or inactive.', { param: 'discounts' });
  }
  return code;
}

/** The discounts that still count at `at`. */
export function running(sim: Sim, ids: string[], at: number): Discount[] {
  return ids
    .map((id) => sim.get<Discount>('discount', id))
    .filter((discount) => discount.end === null || discount.end > at);
}

/** Those of `ids` that remain after an invoice has used them: `once` and ended ones go. */
export function afterUse(sim: Sim, ids: string[]): string[] {
  return running(sim, ids, sim.now())
    .filter((discount) => couponOf(sim, discount).duration !== 'once')
    .map(({ id }) => id);
}
