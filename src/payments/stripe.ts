/** The client of Stripe's API. Its version is the library's own, which its types are of; events of another are read all the same. */
import Stripe from 'stripe';
import type { Config } from '../config.ts';

/** Waits at most this long for an answer; what was asked may have been done all the same. */
const TIMEOUT_MS = 20_000;
/** Of calls that are safe to send again: reads, and writes under an idempotency key. */
const RETRIES = 2;

export interface StripeApi {
  client: Stripe;
  /** Whether its key moves real money. Objects of the other mode are not ours. */
  livemode: boolean;
}

/** The client that the settings describe; `null`: they hold no key, so nothing is sold. */
export function openStripe({ secretKey, apiBase }: Config['stripe']): StripeApi | null {
  if (secretKey === null) return null;
  const key = secretKey.reveal();
  const base = apiBase === null ? null : new URL(apiBase);
  const client = new Stripe(key, {
    timeout: TIMEOUT_MS,
    maxNetworkRetries: RETRIES,
    telemetry: false,
    appInfo: { name: 'tollgate' },
    ...(base !== null && {
      protocol: base.protocol === 'http:' ? ('http' as const) : ('https' as const),
      host: base.hostname,
      port: base.port || (base.protocol === 'http:' ? '80' : '443'),
    }),
  });
  return { client, livemode: /^(sk|rk)_live_/.test(key) };
}

/** The version of the API that this client speaks, and that a webhook endpoint should be made with. */
export const API_VERSION: string = Stripe.API_VERSION;
