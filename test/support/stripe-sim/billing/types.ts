/** Billing's objects as they go over the wire: the library's types with ids in place of expandable objects. */
import type Stripe from 'stripe';

/** A type of the library before the library reads it: decimals are strings, what can be expanded is an id. */
type Wire<T> = T extends Stripe.Decimal
  ? string
  : T extends (infer Item)[]
    ? Field<Item>[]
    : T extends object
      ? { [Key in keyof T]: Field<T[Key]> }
      : T;
type Field<T> = string extends T ? Extract<T, string | null | undefined> : Wire<T>;

export interface ListOf<T> {
  object: 'list';
  data: T[];
  has_more: boolean;
  total_count?: number;
  url: string;
}

export type Price = Wire<Stripe.Price>;
export type Plan = Wire<Stripe.Plan>;
export type Coupon = Wire<Stripe.Coupon>;
export type PromotionCode = Wire<Stripe.PromotionCode>;
export type Customer = Wire<Stripe.Customer>;
/** As the payments keep it. */
export type PaymentIntent = Stripe.PaymentIntent;
export type Discount = Wire<Stripe.Discount>;
export type InvoiceItem = Wire<Stripe.InvoiceItem>;
export type InvoicePayment = Wire<Stripe.InvoicePayment>;
export type Line = Wire<Stripe.InvoiceLineItem>;
export type Tax = NonNullable<Line['taxes']>[number];
export type SubscriptionItem = Wire<Stripe.SubscriptionItem>;
export type CreditNoteLine = Wire<Stripe.CreditNoteLineItem>;
export type CreditNote = Omit<Wire<Stripe.CreditNote>, 'lines'> & { lines: ListOf<CreditNoteLine> };
export type Invoice = Omit<Wire<Stripe.Invoice>, 'lines' | 'payments'> & { lines: ListOf<Line> };
export type Subscription = Omit<Wire<Stripe.Subscription>, 'items'> & { items: ListOf<SubscriptionItem> };
export type SubscriptionStatus =
  | 'incomplete'
  | 'incomplete_expired'
  | 'trialing'
  | 'active'
  | 'past_due'
  | 'canceled'
  | 'unpaid'
  | 'paused';

/** What happens when the last retry has failed, and when the retries are: Stripe's dashboard settings. */
export interface BillingSettings {
  /** Days from one failed attempt to the next. */
  retryDays: number[];
  /** What becomes of the subscription after the last one. */
  afterRetries: 'cancel' | 'unpaid' | 'past_due';
  /** How long a renewal's invoice stays a draft, in seconds. */
  draftSeconds: number;
  /** How many days before a renewal `invoice.upcoming` tells of it (an invoice without an id); null: never. */
  upcomingDays: number | null;
}
