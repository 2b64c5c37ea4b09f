/** The customer portal: where a customer changes cards and subscriptions, at Stripe. What it may change there is configured there. */
import { withCustomer } from './customers.ts';
import type { SellingDeps } from './deps.ts';
import { stripeFault } from './faults.ts';

const ASK = { timeout: 10_000, maxNetworkRetries: 2 };

/** The URL of a new portal session of the account. `returnUrl` null: the portal's own. Throws as `createCheckout` does. */
export async function createPortal(deps: SellingDeps, account: bigint, returnUrl: string | null): Promise<string> {
  return withCustomer(deps, account, async (customer) => {
    const params = { customer, ...(returnUrl !== null && { return_url: returnUrl }) };
    return (await deps.stripe.client.billingPortal.sessions.create(params, ASK)).url;
  }).catch((error: unknown) => {
    throw stripeFault(error, deps.log);
  });
}
