/** Coupons, promotion codes, and what they take off an amount. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { noSuch, StripeFault } from './fault.ts';
import { flag, hash, metadata, needed, text, whole } from './params.ts';

type Coupon = Stripe.Coupon;
type PromotionCode = Stripe.PromotionCode;

/** What a coupon takes off `amount`, both in minor units of `currency`; never more than there is. */
export function discountOf(coupon: Coupon, amount: number, currency: string): number {
  if (coupon.percent_off !== null) return Math.round((amount * coupon.percent_off) / 100);
  if (coupon.amount_off === null || coupon.currency !== currency) return 0;
  return Math.min(amount, coupon.amount_off);
}

/** The active promotion code that a customer typed, undefined when there is none. */
export function promotionCodeOf(sim: Sim, typed: string): PromotionCode | undefined {
  return sim.all<PromotionCode>('promotion_code').find((one) => one.active && (one.code === typed || one.id === typed));
}

/** The coupon behind a promotion code. */
export function couponOf(sim: Sim, code: PromotionCode): Coupon {
  return sim.get<Coupon>('coupon', String(code.promotion.coupon));
}

/** Counts one use; a coupon or code that is used up stops being valid. */
export function redeem(coupon: Coupon, code?: PromotionCode): void {
  for (const used of code === undefined ? [coupon] : [coupon, code]) {
    used.times_redeemed += 1;
    if (used.max_redemptions === null || used.times_redeemed < used.max_redemptions) continue;
    if (used.object === 'coupon') used.valid = false;
    else used.active = false;
  }
}

function createCoupon(call: Call): Coupon {
  const { form, sim } = call;
  const percent = text(form, 'percent_off');
  const amount = whole(form, 'amount_off');
  if ((percent === undefined) === (amount === undefined)) {
    throw new StripeFault('You must pass either `percent_off` or `amount_off`.', { param: 'percent_off' });
  }
  const coupon: Coupon = {
    id: text(form, 'id') ?? sim.id('c').slice(2, 10),
    object: 'coupon',
    amount_off: amount ?? null,
    created: sim.now(),
    currency: amount === undefined ? null : needed(form, 'currency').toLowerCase(),
    duration: (text(form, 'duration') as Coupon['duration'] | undefined) ?? 'once',
    duration_in_months: whole(form, 'duration_in_months') ?? null,
    livemode: sim.livemode,
    max_redemptions: whole(form, 'max_redemptions') ?? null,
    metadata: metadata(form),
    name: text(form, 'name') ?? null,
    percent_off: percent === undefined ? null : Number(percent),
    redeem_by: whole(form, 'redeem_by') ?? null,
    times_redeemed: 0,
    valid: true,
  };
  sim.put(coupon);
  sim.emit('coupon.created', coupon);
  return coupon;
}

function createCode(call: Call): PromotionCode {
  const { form, sim } = call;
  const promotion = hash(form, 'promotion') ?? {};
  const coupon = sim.get<Coupon>('coupon', needed(promotion, 'coupon'), 'promotion[coupon]');
  const restrictions = hash(form, 'restrictions') ?? {};
  const code: PromotionCode = {
    id: sim.id('promo'),
    object: 'promotion_code',
    active: flag(form, 'active') ?? true,
    code: text(form, 'code') ?? sim.id('c').slice(2, 10).toUpperCase(),
    created: sim.now(),
    customer: text(form, 'customer') ?? null,
    customer_account: null,
    expires_at: whole(form, 'expires_at') ?? null,
    livemode: sim.livemode,
    max_redemptions: whole(form, 'max_redemptions') ?? null,
    metadata: metadata(form),
    promotion: { coupon: coupon.id, type: 'coupon' },
    restrictions: {
      first_time_transaction: flag(restrictions, 'first_time_transaction') ?? false,
      minimum_amount: whole(restrictions, 'minimum_amount') ?? null,
      minimum_amount_currency: text(restrictions, 'minimum_amount_currency') ?? null,
    },
    times_redeemed: 0,
  };
  sim.put(code);
  sim.emit('promotion_code.created', code);
  return code;
}

export function couponRoutes(sim: Sim): void {
  sim.link('promotion_code', 'promotion.coupon', 'coupon');
  sim.link('promotion_code', 'customer', 'customer');
  sim.route('POST', '/v1/coupons', createCoupon);
  sim.route('GET', '/v1/coupons', (call) => sim.list(call, 'coupon'));
  sim.route('GET', '/v1/coupons/:id', (call) => sim.get('coupon', call.params.id ?? ''));
  sim.route('DELETE', '/v1/coupons/:id', (call) => {
    const coupon = sim.get<Coupon>('coupon', call.params.id ?? '');
    sim.remove(coupon);
    sim.emit('coupon.deleted', coupon);
    return { id: coupon.id, object: 'coupon', deleted: true };
  });
  sim.route('POST', '/v1/promotion_codes', createCode);
  sim.route('GET', '/v1/promotion_codes', (call) => {
    const code = text(call.query, 'code');
    const active = flag(call.query, 'active');
    return sim.list<PromotionCode>(
      call,
      'promotion_code',
      (one) => (code === undefined || one.code === code) && (active === undefined || one.active === active),
    );
  });
  sim.route('GET', '/v1/promotion_codes/:id', (call) => sim.get('promotion_code', call.params.id ?? ''));
  sim.route('POST', '/v1/promotion_codes/:id', (call) => {
    const code = sim.find<PromotionCode>('promotion_code', call.params.id ?? '');
    if (code === undefined) throw noSuch('promotion_code', call.params.id ?? '');
    const previous = sim.change(code, {
      active: flag(call.form, 'active') ?? code.active,
      metadata: metadata(call.form, code.metadata ?? {}),
    });
    if (Object.keys(previous).length > 0) sim.emit('promotion_code.updated', code, previous);
    return code;
  });
}
