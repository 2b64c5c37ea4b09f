/** What a sync is asked, and what it answers. */
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
