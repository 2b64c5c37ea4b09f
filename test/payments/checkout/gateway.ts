/** Real gateways in this process that sell by a simulated Stripe, and what tests do with them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createKey, PLAIN_KEY } from '../../../src/accounts/keys.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import {
  CATALOG,
  closeWorld,
  createTestAccount,
  createWorld,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../../support/gateway.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';

export const PUBLIC_URL = 'https://pay.example.com/tollgate';

/** Packs in several currencies, by a price of Stripe, and not for sale; a plan with two prices, and one that is not sold. */
const SOLD = (price: string, month: string, year: string) =>
  `${CATALOG}  pro: { stripe_prices: [${month}, ${year}], models: ["*"], features: [] }
  hidden: { public: false, stripe_prices: [price_hidden], models: [], features: [] }
packs:
  starter: { price: { eur: 9.50, usd: 10.00, jpy: 1500, kwd: 3.07 }, credits: 10000, bonus_credits: 500, expires_days: 365 }
  euros: { price: { eur: 19.99 }, credits: 20000 }
  kept-there: { stripe_price: ${price}, credits: 5000 }
  secret: { price: { usd: 1 }, credits: 1000000, public: false }
  unpriced: { credits: 5 }
`;

export interface Till {
  world: World;
  stripe: TestStripe;
  gateway: TestGateway;
  other: TestGateway;
  prices: { once: string; month: string; year: string };
  /** An account with a key that may buy. */
  buyer(scopes?: string[]): Promise<TestAccount>;
  post(
    account: TestAccount,
    path: string,
    body: unknown,
    headers?: Record<string, string>,
    at?: TestGateway,
  ): Promise<Answer>;
  close(): Promise<void>;
}

export interface Answer {
  status: number;
  body: { url?: string; error?: { code: string; param: string | null; message: string } };
}

export async function openTill(yaml = `server: { public_url: "${PUBLIC_URL}/" }`): Promise<Till> {
  const stripe = await startStripe();
  const product = await stripe.client.products.create({ name: 'Tollgate' });
  const price = async (more: object) =>
    (await stripe.client.prices.create({ product: product.id, currency: 'usd', unit_amount: 2_000, ...more })).id;
  const prices = {
    once: await price({}),
    month: await price({ recurring: { interval: 'month' } }),
    year: await price({ recurring: { interval: 'year' } }),
  };
  const world = await createWorld(stripe.env, yaml);
  writeFileSync(join(world.folder, 'catalog.yaml'), SOLD(prices.once, prices.month, prices.year));
  const gateway = await startGateway(world);
  const other = await startGateway(world);
  return {
    world,
    stripe,
    gateway,
    other,
    prices,
    buyer: async (scopes = ['billing', 'read']) => {
      const account = await createTestAccount(world, '0');
      const key = await createKey(world.pool, systemClock, account.account, { ...PLAIN_KEY, scopes: scopes as never });
      return { ...account, key: key.text, keyId: key.id };
    },
    post: async (account, path, body, headers = {}, at = gateway) => {
      const response = await fetch(`${at.url}/account/v1/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      return { status: response.status, body: (await response.json()) as Answer['body'] };
    },
    close: async () => {
      await gateway.close();
      await other.close();
      await closeWorld(world);
      await stripe.close();
    },
  };
}

/** The page that a browser comes back to, at a gateway that is not where it says it is. */
export function backAt(gateway: TestGateway, returnUrl: string): Promise<Response> {
  return fetch(returnUrl.replace(PUBLIC_URL, gateway.url), { redirect: 'manual' });
}
