/** Events of Stripe, of which only this is read: what happened, and to which object. The object itself is fetched. */
import { z } from 'zod';
import { text } from '../lib/http-json.ts';

/** What a webhook endpoint should send, and what the poller looks for. Others may come; they change nothing. */
export const EVENT_TYPES = [
  'checkout.session.completed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.async_payment_failed',
  'checkout.session.expired',
  'payment_intent.succeeded',
  'payment_intent.processing',
  'payment_intent.payment_failed',
  'payment_intent.requires_action',
  'payment_intent.canceled',
  'invoice.paid',
  'invoice.payment_failed',
  'invoice.payment_action_required',
  'invoice.overdue',
  'invoice.overpaid',
  'invoice.finalization_failed',
  'invoice.voided',
  'invoice.marked_uncollectible',
  'invoice_payment.paid',
  'credit_note.created',
  'credit_note.updated',
  'credit_note.voided',
  'customer.subscription.created',
  'customer.subscription.updated',
  'customer.subscription.deleted',
  'customer.subscription.paused',
  'customer.subscription.resumed',
  'customer.subscription.pending_update_applied',
  'customer.subscription.pending_update_expired',
  'refund.created',
  'refund.updated',
  'refund.failed',
  'charge.refunded',
  'charge.refund.updated',
  'charge.dispute.created',
  'charge.dispute.updated',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.funds_reinstated',
  'charge.dispute.closed',
  'setup_intent.succeeded',
  'payment_method.attached',
  'payment_method.detached',
  'payment_method.updated',
  'payment_method.automatically_updated',
  'customer.updated',
  'customer.deleted',
] as const;

const OF_INTEREST: ReadonlySet<string> = new Set(EVENT_TYPES);

/** Whether an event may change something here. */
export function isOfInterest({ type, objectId, account }: StripeEvent): boolean {
  return account === null && objectId !== null && OF_INTEREST.has(type);
}

export interface StripeEvent {
  id: string;
  type: string;
  objectKind: string;
  /** Null: the object has none, as that of invoice.upcoming. */
  objectId: string | null;
  apiVersion: string | null;
  livemode: boolean;
  /** By Stripe; whole seconds. */
  createdAt: Date;
  /** The connected account that it is of: not ours. Null: of the account itself. */
  account: string | null;
}

const LATEST_SECONDS = 253_402_300_799;

const shape = z.object({
  id: text(255),
  object: z.literal('event'),
  type: text(255),
  api_version: text(255).nullish(),
  livemode: z.boolean(),
  created: z.int().min(0).max(LATEST_SECONDS),
  account: text(255).nullish(),
  data: z.object({ object: z.object({ object: text(255), id: text(255).nullish() }) }),
});

/** An event in what Stripe sent; null: it is none, but a thin event, or what no version of Stripe's API sends. */
export function readEvent(sent: unknown): StripeEvent | null {
  const read = shape.safeParse(sent);
  if (!read.success) return null;
  const { id, type, api_version, livemode, created, account, data } = read.data;
  return {
    id,
    type,
    objectKind: data.object.object,
    objectId: data.object.id ?? null,
    apiVersion: api_version ?? null,
    livemode,
    createdAt: new Date(created * 1000),
    account: account ?? null,
  };
}
