/**
 * P8: a gateway that is killed at any step of a webhook's life grants what was paid for, once. Whatever it had not stored, Stripe sends
 * again; what it had, the next gateway takes up: within a minute, when the claim of the dead one is over.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  spawnGateway,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { startStripe, type TestStripe } from '../support/stripe.ts';
import { type Point, startWireProxy, type WireProxy } from '../support/wire-proxy.ts';

const HINT = 'checkout.session.completed';
const CREDITS = 10_000n * 1_000_000_000n;

let world: World;
let stripe: TestStripe;
let proxy: WireProxy;
let gateway: GatewayProcess;
let price: string;

beforeAll(async () => {
  stripe = await startStripe();
  const product = await stripe.client.products.create({ name: 'Credits' });
  price = (await stripe.client.prices.create({ product: product.id, currency: 'usd', unit_amount: 1000 })).id;
  world = await createWorld({ ...stripe.env, PORT: String(await freePort()) });
  appendFileSync(join(world.folder, 'catalog.yaml'), `packs:\n  starter: { stripe_price: ${price}, credits: 10000 }\n`);
  proxy = await startWireProxy(world.database.url);
  gateway = await spawnGateway(world, { DATABASE_URL: proxy.url });
  // One event for a payment, so that no other makes up for one that is lost.
  await stripe.sim.listen(`${gateway.url}/webhooks/stripe`, { events: [HINT] });
});
afterAll(async () => {
  gateway?.child.kill('SIGKILL');
  await gateway?.exited;
  await proxy.close();
  await stripe.close();
  await closeWorld(world);
});

/** Each gateway listens where the one before did, as Stripe knows one URL. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Sale extends TestAccount {
  session: string;
}

/** An account, its customer, and a session that waits to be paid. */
async function sale(): Promise<Sale> {
  const account = await createTestAccount(world, '0');
  const { id: customer } = await stripe.client.customers.create({ name: 'Payer' });
  await world.pool.query('UPDATE accounts SET stripe_customer_id = $2 WHERE account_id = $1', [
    account.account,
    customer,
  ]);
  const session = await stripe.client.checkout.sessions.create({
    mode: 'payment',
    customer,
    line_items: [{ price, quantity: 1 }],
    success_url: 'https://app.example.com',
  });
  return { ...account, session: session.id };
}

async function granted({ account }: TestAccount): Promise<bigint[]> {
  const { rows } = await world.pool.query<{ credits: bigint }>(
    'SELECT credits FROM payment_grants WHERE account_id = $1',
    [account],
  );
  return rows.map(({ credits }) => credits);
}

async function states(): Promise<Record<string, number>> {
  const { rows } = await world.pool.query<{ state: string }>('SELECT state FROM stripe_events');
  return Object.fromEntries([...Map.groupBy(rows, ({ state }) => state)].map(([state, all]) => [state, all.length]));
}

/** The gateway dies, and with it its connections; the next one starts. */
async function killAndRestart(): Promise<void> {
  gateway.child.kill('SIGKILL');
  await gateway.exited;
  proxy.strikeAll('cut');
  gateway = await spawnGateway(world, { DATABASE_URL: proxy.url });
}

/** All comes right: the minute of the dead one's claim passes, and Stripe sends again what was not answered. */
async function expectGrantedOnce(buyer: Sale): Promise<void> {
  await world.pool.query("UPDATE stripe_events SET due_at = now() WHERE state = 'waiting'");
  await stripe.sim.advance({ hours: 1 });
  await stripe.sim.settled();
  await eventually(async () => !('waiting' in (await states())), 'no event waits');
  expect(await granted(buyer)).toEqual([CREDITS]);
  expect(Object.keys(await states())).not.toContain('dead');
  // Once more: it changes nothing.
  const [event] = await stripe.sim.events({ type: HINT, about: buyer.session });
  await world.pool.query('DELETE FROM stripe_events WHERE event_id = $1', [event!.id]);
  await stripe.sim.deliver([event!.id, event!.id]);
  await eventually(async () => !('waiting' in (await states())), 'no event waits');
  expect(await granted(buyer)).toEqual([CREDITS]);
  await expectSettled(world);
}

const STEPS: [string, RegExp, Point][] = [
  ['before its event is stored', /INSERT INTO stripe_events/, 'arrived'],
  ['when its event is stored, and Stripe does not know', /INSERT INTO stripe_events/, 'answered'],
  ['when its event is claimed', /SELECT version FROM stripe_syncs/, 'arrived'],
  ['in the transaction that grants', /payment_post/, 'answered'],
  ['when it has granted, before it says so to the inbox', /received_at <= \$5/, 'arrived'],
];

it.each(STEPS)(
  'killed %s, a webhook is granted once',
  async (_when, statement, point) => {
    const buyer = await sale();
    const struck = proxy.strike({ statement, point, fate: 'freeze' });
    const paid = stripe.sim.completeSession(buyer.session);
    await struck;
    await killAndRestart();
    await paid;
    await expectGrantedOnce(buyer);
  },
  60_000,
);

it('killed while it asks Stripe what was bought, a webhook is granted once', async () => {
  const buyer = await sale();
  await stripe.sim.clearLog();
  const path = '/v1/checkout/sessions';
  await stripe.sim.fault({ kind: 'slow', ms: 10_000, method: 'GET', path, times: 10 });
  const paid = stripe.sim.completeSession(buyer.session);
  await eventually(
    async () => (await stripe.sim.log()).some((call) => call.method === 'GET' && call.path.startsWith(path)),
    'Stripe is asked',
  );
  expect(await granted(buyer)).toEqual([]);
  gateway.child.kill('SIGKILL');
  await gateway.exited;
  await stripe.sim.clearFaults();
  await killAndRestart();
  await paid;
  await expectGrantedOnce(buyer);
});
