/** The fields of what this folder makes, compared with Stripe's own sample objects and with the types of the library. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type Stripe from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStripe, type TestStripe } from '../stripe.ts';

/** Laid beside the repository, never in it. */
const FIXTURES = '/work/shared/stripe/fixtures3.json';
const RECORDED = '/work/shared/stripe/api';
const present = existsSync(FIXTURES);
if (!present) console.warn(`shapes.test.ts: ${FIXTURES} is absent: field names are NOT compared with Stripe's samples`);

type Shape = Record<string, unknown>;

/** What the samples show and this API version no longer has, or shows only of some objects or when expanded. */
const GONE: Record<string, string[]> = {
  charge: ['refunds'],
  customer: ['address.city', 'discount', 'shipping'],
};
/** What this API version has and the samples, of an older one, have not yet. */
const NEW: Record<string, string[]> = {
  payment_intent: ['allowed_payment_method_types', 'payment_record'],
  'checkout.session': ['allowed_payment_method_types', 'branding_settings'],
  customer: ['customer_account'],
  dispute: ['intended_submission_method'],
  product: ['tax_details'],
  setup_intent: ['allowed_payment_method_types', 'customer_account', 'managed_payments'],
};

describe.skipIf(!present)("has the fields of Stripe's own sample:", () => {
  let stripe: TestStripe;
  let samples: Record<string, Shape>;
  beforeAll(async () => {
    samples = (JSON.parse(readFileSync(FIXTURES, 'utf8')) as { resources: Record<string, Shape> }).resources;
    stripe = await startStripe({ seed: 31 });
    await fill(stripe);
  });
  afterAll(() => stripe.close());

  test.each([
    'balance_transaction',
    'billing_portal.configuration',
    'billing_portal.session',
    'charge',
    'checkout.session',
    'coupon',
    'customer',
    'dispute',
    'event',
    'payment_intent',
    'payment_method',
    'price',
    'product',
    'promotion_code',
    'refund',
    'setup_intent',
    'webhook_endpoint',
  ])('%s', async (kind) => {
    const [ours] = await stripe.sim.objects(kind);
    const sample = samples[kind] as Shape;
    const mine = Object.keys(ours as object).filter((key) => !(NEW[kind] ?? []).includes(key));
    const its = Object.keys(sample).filter((key) => !(GONE[kind] ?? []).includes(key));
    expect(
      its.filter((key) => !(key in (ours as object))),
      'missing',
    ).toEqual([]);
    expect(
      mine.filter((key) => !(key in sample)),
      'unknown to Stripe',
    ).toEqual([]);
  });
});

describe.skipIf(!present)('has every field that Stripe answered when it was recorded:', () => {
  let stripe: TestStripe;
  beforeAll(async () => {
    stripe = await startStripe({ seed: 33 });
    await fill(stripe);
  });
  afterAll(() => stripe.close());
  /** Those of 2025-11-17.clover, the newest. */
  const files = present ? readdirSync(RECORDED).filter((name) => name.startsWith('ddtrace.')) : [];

  test.each(files)('%s', async (name) => {
    const sample = JSON.parse(readFileSync(`${RECORDED}/${name}`, 'utf8')) as Shape;
    const kind = 'object' in sample && sample.object !== 'card' ? String(sample.object) : 'payment_method';
    const [ours] = (await stripe.sim.objects(kind)) as unknown as Shape[];
    expect(absent(kind, ours ?? {}, sample)).toEqual([]);
  });
});

/** The fields of `its` that `ours` has not, in nested hashes too. `client_secret` and the like differ in value only. */
function absent(place: string, ours: Shape, its: Shape): string[] {
  return Object.entries(its).flatMap(([key, value]) => {
    if (!(key in ours)) return [`${place}.${key}`];
    const mine = ours[key];
    const nested = isHash(mine) && isHash(value) && !['metadata', 'payment_method_options'].includes(key);
    return nested ? absent(`${place}.${key}`, mine, value) : [];
  });
}

function isHash(value: unknown): value is Shape {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function fill({ client, sim }: TestStripe): Promise<void> {
  const { id: price } = await client.prices.create({ currency: 'usd', unit_amount: 1000, product_data: { name: 'A' } });
  const coupon = await client.coupons.create({ percent_off: 10, duration: 'once' });
  await client.promotionCodes.create({ promotion: { type: 'coupon', coupon: coupon.id } });
  const { id: customer } = await client.customers.create();
  await client.billingPortal.sessions.create({ customer });
  await client.setupIntents.create({ customer, payment_method: 'pm_card_visa', confirm: true });
  await client.webhookEndpoints.create({ url: 'https://a.test/', enabled_events: ['*'] });
  const line_items = [{ price, quantity: 1 }];
  const session = await client.checkout.sessions.create({
    mode: 'payment',
    success_url: 'https://a.test/',
    line_items,
    customer,
  });
  const done = await sim.completeSession(session.id);
  const intent = await client.paymentIntents.retrieve(String(done.payment_intent));
  await sim.dispute(String(intent.latest_charge));
  await client.refunds.create({ payment_intent: intent.id });
}

test('line items of a session are those of the API, not those of invoices', async () => {
  const stripe = await startStripe({ seed: 32 });
  await fill(stripe);
  const [session] = await stripe.sim.objects<Stripe.Checkout.Session>('checkout.session');
  const { data } = await stripe.client.checkout.sessions.listLineItems(session?.id ?? '');
  expect(data[0]).toMatchObject({ object: 'item', quantity: 1, amount_total: 1000 });
  await stripe.close();
});
