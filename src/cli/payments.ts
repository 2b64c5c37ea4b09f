/** What commands of payments work on: Stripe, and for most the database beside it. */
import { CatalogCache } from '../catalog/cache.ts';
import { loadCatalog } from '../catalog/store.ts';
import type { Config } from '../config.ts';
import { TollgateError } from '../errors.ts';
import { systemClock } from '../lib/clock.ts';
import type { PaymentDeps } from '../payments/deps.ts';
import { openStripe, type StripeApi } from '../payments/stripe.ts';
import { type Database, withPool } from './database.ts';

/** Stripe, of the settings. Throws `stripe_disabled` without a key. */
export function stripeOf(config: Config): StripeApi {
  const stripe = openStripe(config.stripe);
  if (stripe === null) throw new TollgateError('stripe_disabled');
  return stripe;
}

/** Runs `work` with all that `payments/` needs, on the database of the settings. Throws `stripe_disabled` without a key. */
export function withPayments<T>(work: (deps: PaymentDeps, database: Database) => Promise<T>): Promise<T> {
  return withPool(async (pool, database) => {
    const { config, log } = database;
    const stripe = stripeOf(config);
    const built = { providers: new Set(config.providers.map(({ name }) => name)), markup: config.credits.markup };
    const read = () => loadCatalog(pool, built);
    const catalogs = new CatalogCache(await read(), read);
    return work({ pool, stripe, catalogs, clock: systemClock, log }, database);
  });
}
