/** What a checkout session sells: its line items, and what discounts and taxes make of their amounts. */
import type Stripe from 'stripe';
import { createPrice, type Price, priceRequest, unitAmount } from './catalogue.ts';
import type { Sim } from './core.ts';
import { couponOf, discountOf } from './coupons.ts';
import { StripeFault } from './fault.ts';
import { type Form, hash, needed, text, whole } from './params.ts';

export interface Bought {
  price: string;
  quantity: number;
}

/** As it is on the wire. */
export type LineItem = Omit<Stripe.LineItem, 'price'> & { price: Price };

export interface Totals {
  lines: LineItem[];
  amount_subtotal: number;
  amount_total: number;
  total_details: { amount_discount: number; amount_shipping: number; amount_tax: number };
}

export interface DiscountChoice {
  coupon: string | null;
  promotion_code: string | null;
}

/** The one tax that `automatic_tax` knows: 20 %, added to the price. */
const TAX_PERCENT = 20;

/** What parameters ask for: an existing price, or one made of `price_data`. */
export function boughtOf(sim: Sim, form: Form, index: number): Bought {
  const param = `line_items[${index}]`;
  const quantity = whole(form, 'quantity') ?? 1;
  const data = hash(form, 'price_data');
  if (data !== undefined) {
    const request = priceRequest(sim, data, `${param}[price_data]`);
    // Stripe keeps the price it makes of `price_data`, but not for sale.
    return { quantity, price: createPrice(sim, { ...request, active: false }).id };
  }
  const price = sim.get<Price>('price', needed(form, 'price'), `${param}[price]`);
  if (!price.active) {
    const message = `The price specified is inactive. This field only accepts active prices.`;
    throw new StripeFault(message, { param: `${param}[price]`, code: 'price_inactive' });
  }
  return { quantity, price: price.id };
}

/** The amounts of a session in minor units. `free` is a subscription that begins with a trial: nothing is due today. */
export function totalsOf(
  sim: Sim,
  bought: Bought[],
  terms: { currency: string; discounts: DiscountChoice[]; taxed: boolean; free: boolean },
): Totals {
  const prices = bought.map(({ price }) => sim.get<Price>('price', price));
  const amounts = bought.map(({ quantity }, index) =>
    terms.free ? 0 : unitAmount(sim, prices[index] as Price, terms.currency) * quantity,
  );
  const amount_subtotal = sum(amounts);
  const discounts = shared(discountTotal(sim, terms.discounts, amount_subtotal, terms.currency), amounts);
  const lines = bought.map(({ quantity }, index) => {
    const price = prices[index] as Price;
    const amount = amounts[index] ?? 0;
    const discount = discounts[index] ?? 0;
    const tax = terms.taxed ? Math.round(((amount - discount) * TAX_PERCENT) / 100) : 0;
    return line(sim, price, quantity, { amount, discount, tax, currency: terms.currency });
  });
  const amount_tax = sum(lines.map((one) => one.amount_tax));
  const amount_discount = sum(discounts);
  return {
    lines,
    amount_subtotal,
    amount_total: amount_subtotal - amount_discount + amount_tax,
    total_details: { amount_discount, amount_shipping: 0, amount_tax },
  };
}

function line(
  sim: Sim,
  price: Price,
  quantity: number,
  { amount, discount, tax, currency }: { amount: number; discount: number; tax: number; currency: string },
): LineItem {
  return {
    id: sim.id('li'),
    object: 'item',
    adjustable_quantity: null,
    amount_discount: discount,
    amount_subtotal: amount,
    amount_tax: tax,
    amount_total: amount - discount + tax,
    currency,
    description: sim.get<Stripe.Product>('product', price.product).name,
    metadata: {},
    price: structuredClone(price),
    quantity,
  };
}

function discountTotal(sim: Sim, choices: DiscountChoice[], amount: number, currency: string): number {
  let left = amount;
  for (const choice of choices) {
    const coupon =
      choice.coupon !== null
        ? sim.get<Stripe.Coupon>('coupon', choice.coupon, 'discounts[0][coupon]')
        : couponOf(
            sim,
            sim.get<Stripe.PromotionCode>(
              'promotion_code',
              choice.promotion_code ?? '',
              'discounts[0][promotion_code]',
            ),
          );
    if (!coupon.valid) throw new StripeFault(`Coupon ${coupon.id} is used up or expired.`, { param: 'discounts' });
    left -= discountOf(coupon, left, currency);
  }
  return amount - left;
}

/** `total` spread over parts in proportion, to the unit: what rounding leaves goes to the first that has room. */
function shared(total: number, parts: number[]): number[] {
  const whole = sum(parts);
  if (whole === 0) return parts.map(() => 0);
  const shares = parts.map((part) => Math.floor((total * part) / whole));
  let left = total - sum(shares);
  for (const [index, part] of parts.entries()) {
    if (left === 0) break;
    if ((shares[index] as number) >= part) continue;
    shares[index] = (shares[index] as number) + 1;
    left -= 1;
  }
  return shares;
}

function sum(amounts: number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0);
}

/** The discounts that parameters ask for. */
export function choicesOf(forms: Form[]): DiscountChoice[] {
  return forms.map((form) => ({
    coupon: text(form, 'coupon') ?? null,
    promotion_code: text(form, 'promotion_code') ?? null,
  }));
}
