/** What an account asks to buy, as the catalog sells it now. Pure. */
import { z } from 'zod';
import type { Catalog, Pack, Plan } from '../catalog/types.ts';
import { TollgateError } from '../errors.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { text } from '../lib/http-json.ts';
import { linkFault } from '../lib/links.ts';
import { whole } from '../lib/settings.ts';

const MOST_NAME_CHARS = 255;
const MOST_URL_CHARS = 2_000;
const MOST_SEATS = 10_000;

/** A URL that a browser is sent to. */
export const link = text(MOST_URL_CHARS).superRefine((value, context) => {
  const fault = linkFault(value);
  if (fault !== null) context.addIssue({ code: 'custom', message: fault });
});

/** The body of `POST /account/v1/checkout`. */
export const checkoutForm = z.strictObject({
  pack: text(MOST_NAME_CHARS).optional(),
  plan: text(MOST_NAME_CHARS).optional(),
  quantity: whole(1, MOST_SEATS).optional(),
  currency: z
    .string('must be a currency such as usd')
    .regex(/^[a-z]{3}$/, 'must be a currency such as usd')
    .optional(),
  price: text(MOST_NAME_CHARS).optional(),
  success_url: link.optional(),
  cancel_url: link.optional(),
});
export type CheckoutForm = z.output<typeof checkoutForm>;

/** What is bought, at the price and with the credits of this moment. */
export interface Order {
  kind: 'pack' | 'plan';
  name: string;
  /** Of the catalog's entry. */
  version: number;
  /** Nano-credits that a pack comes with; of a plan its invoices tell. */
  credits: bigint;
  bonusCredits: bigint;
  expiresDays: number | null;
  /** Where the catalog says the price: in minor units. Else both are `null`, and Stripe has it. */
  currency: string | null;
  amountMinor: bigint | null;
  stripePrice: string | null;
  quantity: number;
}

/** Reads the body. Throws `invalid_request` with the field at fault. */
export function readCheckout(body: unknown): CheckoutForm {
  const form = readInput(checkoutForm, body);
  if ((form.pack === undefined) === (form.plan === undefined)) {
    throw invalidField(form.pack === undefined ? 'pack' : 'plan', 'send exactly one of pack and plan');
  }
  if (form.pack !== undefined && form.quantity !== undefined) throw invalidField('quantity', 'belongs to a plan');
  if (form.pack !== undefined && form.price !== undefined) throw invalidField('price', 'belongs to a plan');
  if (form.plan !== undefined && form.currency !== undefined) throw invalidField('currency', 'belongs to a pack');
  return form;
}

/** The order that a body comes to. Throws `not_found` for what is not on sale, `invalid_request` for what it is not sold by. */
export function orderOf(form: CheckoutForm, catalog: Catalog): Order {
  if (form.pack !== undefined) return orderOfPack(onSale(catalog.packs, form.pack, 'pack'), form.currency);
  return orderOfPlan(onSale(catalog.plans, form.plan!, 'plan'), form);
}

function onSale<T extends { isPublic: boolean }>(all: ReadonlyMap<string, T>, name: string, field: string): T {
  const found = all.get(name);
  if (found?.isPublic) return found;
  throw new TollgateError('not_found', {
    param: field,
    message: `There is no such ${field} on sale. GET /account/v1/catalog lists what is.`,
  });
}

function orderOfPack(pack: Pack, asked: string | undefined): Order {
  const { name, version, credits, bonusCredits, expiresDays, amounts } = pack;
  const order = { kind: 'pack' as const, name, version, credits, bonusCredits, expiresDays, quantity: 1 };
  const [first] = amounts.keys();
  if (first === undefined) {
    if (pack.stripePrice === null) throw invalidField('pack', 'it has no price, so it cannot be bought');
    if (asked !== undefined) throw invalidField('currency', 'the price of this pack is kept at Stripe: leave it out');
    return { ...order, currency: null, amountMinor: null, stripePrice: pack.stripePrice };
  }
  const currency = asked ?? first;
  const amountMinor = amounts.get(currency);
  if (amountMinor === undefined) {
    throw invalidField('currency', `this pack is sold in ${[...amounts.keys()].join(', ')}`);
  }
  return { ...order, currency, amountMinor, stripePrice: null };
}

function orderOfPlan({ name, version, stripePrices }: Plan, { price, quantity }: CheckoutForm): Order {
  const [first] = stripePrices;
  if (first === undefined) throw invalidField('plan', 'it has no price, so it cannot be bought');
  if (price !== undefined && !stripePrices.includes(price)) {
    throw invalidField('price', `this plan is sold by ${stripePrices.join(', ')}`);
  }
  return {
    kind: 'plan',
    name,
    version,
    credits: 0n,
    bonusCredits: 0n,
    expiresDays: null,
    currency: null,
    amountMinor: null,
    stripePrice: price ?? first,
    quantity: quantity ?? 1,
  };
}
