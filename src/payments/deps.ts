/** What the parts of `payments/` are given. */
import type { Pool, PoolClient } from 'pg';
import type { CatalogCache } from '../catalog/cache.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../observe/log.ts';
import type { StripeApi } from './stripe.ts';

export interface PaymentDeps {
  pool: Pool;
  stripe: StripeApi;
  catalogs: CatalogCache;
  clock: Clock;
  log: Logger;
  /** Of a rehearsal: it sees what a sync would change, and nothing is changed. */
  witness?: Witness;
}

/** Looks at what stands of an object of Stripe, before a sync posts and after it, in its transaction; which is then undone. */
export interface Witness {
  before(db: PoolClient, id: string): Promise<void>;
  after(db: PoolClient, id: string): Promise<void>;
}

/** What the parts that sell are given beside. */
export interface SellingDeps extends PaymentDeps {
  /** Where browsers reach this gateway, without a slash at its end; `null`: not said. */
  publicUrl: string | null;
  /** Whether Stripe is asked to reckon taxes. */
  automaticTax: boolean;
}
