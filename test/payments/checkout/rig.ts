/** What sells, over a database of its own and a simulator of Stripe: as often as there are gateways. */
import { createAccount, type NewAccount } from '../../../src/accounts/accounts.ts';
import { CatalogCache } from '../../../src/catalog/cache.ts';
import { loadCatalog } from '../../../src/catalog/store.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { Secret } from '../../../src/lib/settings.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { SellingDeps } from '../../../src/payments/deps.ts';
import { openStripe } from '../../../src/payments/stripe.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';

export interface Shop {
  database: TestDatabase;
  stripe: TestStripe;
  /** As another gateway has it. */
  deps(more?: Partial<SellingDeps>): Promise<SellingDeps>;
  account(more?: Partial<NewAccount>): Promise<bigint>;
  /** How often Stripe was asked to do this. */
  asked(method: string, path: string): Promise<number>;
  close(): Promise<void>;
}

const BUILT = { providers: new Set<string>(), markup: 1_000_000n };

export async function openShop(): Promise<Shop> {
  const database = await createTestDatabase();
  const stripe = await startStripe();
  const { pool } = database;
  const read = () => loadCatalog(pool, BUILT);
  return {
    database,
    stripe,
    deps: async (more = {}) => ({
      pool,
      stripe: openStripe({
        secretKey: new Secret(stripe.env.STRIPE_SECRET_KEY),
        webhookSecrets: [],
        apiBase: stripe.url,
        automaticTax: false,
      })!,
      catalogs: new CatalogCache(await read(), read),
      clock: systemClock,
      log: silentLogger,
      publicUrl: null,
      automaticTax: false,
      ...more,
    }),
    account: async (more = {}) => {
      const fresh = { name: 'Ada', externalId: null, email: null, plan: null, planQuantity: 1, overdraft: 0n };
      const { account } = await createAccount(
        pool,
        systemClock,
        { ...fresh, budget: null, stripeCustomerId: null, metadata: {}, ...more },
        'test',
      );
      return account.id;
    },
    asked: async (method, path) =>
      (await stripe.sim.log()).filter((line) => line.method === method && line.path.startsWith(path)).length,
    close: async () => {
      await stripe.close();
      await database.drop();
    },
  };
}
