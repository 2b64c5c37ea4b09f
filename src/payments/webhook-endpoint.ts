/**
 * The webhook endpoint at Stripe, as it should be: our events, in our version of the API, enabled.
 *
 *   none ──▶ made: its secret is shown this once
 *   there, of our version ──events missing, or disabled──▶ updated: its secret stays
 *   there, of another version ──▶ one of our version is made beside it, since a version cannot be changed; both are served until the
 *     old one is deleted (`prune`), once the new secret is where the gateway reads it
 */
import type Stripe from 'stripe';
import { EVENT_TYPES } from './events.ts';
import { WEBHOOK_PATH } from './ingress.ts';
import { API_VERSION } from './stripe.ts';

/** Stripe allows 16 endpoints in each mode. */
const MOST_ENDPOINTS = 100;

export interface Endpoint {
  id: string;
  url: string;
  apiVersion: string | null;
  outcome: 'made' | 'updated' | 'unchanged';
  /** Of one that was made: shown by Stripe this once. */
  secret: string | null;
  /** Endpoints of the same URL in another version: left, or with `prune` deleted. */
  others: { id: string; apiVersion: string | null; deleted: boolean }[];
}

/**
 * The URL of the endpoint, from what an operator wrote: without a path, ours is added. Throws an `Error` that says what is wrong: it must
 * be https, but for a gateway on this machine.
 */
export function endpointUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null) throw new Error(`"${text}" is no URL. Write it as https://gateway.example.com`);
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback)) {
    throw new Error('The URL must begin with https://: Stripe sends live events nowhere else.');
  }
  if (url.username !== '' || url.password !== '') throw new Error('The URL must not hold credentials.');
  if (url.search !== '' || url.hash !== '') throw new Error('The URL must not have a query or a fragment.');
  if (url.pathname === '/') url.pathname = WEBHOOK_PATH;
  return url.toString();
}

/** Makes or updates the endpoint. Throws what the library throws; run again, it goes on from where it failed. */
export async function setUpEndpoint(client: Stripe, url: string, options: { prune: boolean }): Promise<Endpoint> {
  const all = await client.webhookEndpoints
    .list({ limit: MOST_ENDPOINTS })
    .autoPagingToArray({ limit: MOST_ENDPOINTS });
  const same = all.filter((one) => one.url === url);
  const ours = same.find((one) => one.api_version === API_VERSION);
  const { endpoint, outcome } = ours === undefined ? await make(client, url) : await update(client, ours);
  const others: Endpoint['others'] = [];
  for (const { id, api_version: apiVersion } of same) {
    if (id === endpoint.id) continue;
    // Not at once with the new one: its secret is nowhere yet, so what the old one sends is all there is.
    const deleted = options.prune && outcome !== 'made';
    if (deleted) await client.webhookEndpoints.del(id);
    others.push({ id, apiVersion, deleted });
  }
  const { id, api_version: apiVersion, secret = null } = endpoint;
  return { id, url, apiVersion, outcome, secret: outcome === 'made' ? secret : null, others };
}

interface SetUp {
  endpoint: Stripe.WebhookEndpoint;
  outcome: Endpoint['outcome'];
}

async function make(client: Stripe, url: string): Promise<SetUp> {
  const endpoint = await client.webhookEndpoints.create({
    url,
    enabled_events: [...EVENT_TYPES],
    api_version: API_VERSION as Stripe.WebhookEndpointCreateParams.ApiVersion,
    description: 'Tollgate',
  });
  return { endpoint, outcome: 'made' };
}

/** Events that somebody added stay. */
async function update(client: Stripe, endpoint: Stripe.WebhookEndpoint): Promise<SetUp> {
  const has = new Set(endpoint.enabled_events);
  const missing = has.has('*') ? [] : EVENT_TYPES.filter((type) => !has.has(type));
  if (missing.length === 0 && endpoint.status === 'enabled') return { endpoint, outcome: 'unchanged' };
  const events = [...endpoint.enabled_events, ...missing] as Stripe.WebhookEndpointUpdateParams.EnabledEvent[];
  const updated = await client.webhookEndpoints.update(endpoint.id, { enabled_events: events, disabled: false });
  return { endpoint: updated, outcome: 'updated' };
}
