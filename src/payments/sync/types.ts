/** What a sync is asked, and what it answers. */
import type { PaymentDeps } from '../deps.ts';
import type { Synced } from './converge.ts';

/** An object of Stripe: its kind as Stripe's `object` names it, and its id. */
export interface StripeRef {
  kind: string;
  id: string;
}

/** `ours` is false when nothing of it concerns an account: then nothing was posted, and its event is to be ignored. */
export interface SyncResult extends Synced {
  ours: boolean;
}

export const NOT_OURS: SyncResult = { changed: false, ours: false };

/** An object of the mode that our key is not of: it is ignored. */
export class WrongMode extends Error {}

/** Throws `WrongMode` for an object of the other mode: money of a test must never become credits. */
export function assertMode({ stripe }: Pick<PaymentDeps, 'stripe'>, object: { id: string; livemode: boolean }): void {
  if (object.livemode !== stripe.livemode) throw new WrongMode(`${object.id} is of the other mode than the key`);
}

/** The id of what Stripe tells by its id or, expanded, as a whole. */
export function idOf(reference: string | { id: string }): string;
export function idOf(reference: string | { id: string } | null): string | null;
export function idOf(reference: string | { id: string } | null): string | null {
  return typeof reference === 'string' || reference === null ? reference : reference.id;
}
