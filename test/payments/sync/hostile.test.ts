import { afterAll, beforeAll, expect, it } from 'vitest';
import { publicId } from '../../../src/lib/ids.ts';
import { sync } from '../../../src/payments/sync/sync.ts';
import { balanceOf, createPayRig, orphanOf, type Payer, type PayRig, paymentOf } from './rig.ts';

let rig: PayRig;
let mine: Payer;
let theirs: Payer;
beforeAll(async () => {
  rig = await createPayRig();
  mine = await rig.payer();
  theirs = await rig.payer();
});
afterAll(() => rig.close());

const TERMS = { credits: 100, amountMinor: 1000 };
const balances = async () => [await balanceOf(rig, mine.account), await balanceOf(rig, theirs.account)];
const complete = async (id: string) => String((await rig.stripe.completeSession(id)).payment_intent);
/** A session with the metadata of somebody's checkout, sold for a cent a piece. */
async function forged(customer: string, metadata: Record<string, string>, reference?: string): Promise<string> {
  const session = await rig.client.checkout.sessions.create({
    mode: 'payment',
    customer,
    ...(reference !== undefined && { client_reference_id: reference }),
    line_items: [{ price_data: { currency: 'usd', unit_amount: 50, product_data: { name: 'Cheap' } }, quantity: 1 }],
    success_url: 'https://example.com/done',
    metadata,
    payment_intent_data: { metadata },
  });
  return session.id;
}

it('does not take metadata for a checkout: it names the session, or it is not of it', async () => {
  const before = await balances();
  const { metadata } = await rig.checkout(theirs, TERMS);
  const id = await forged(mine.customer, metadata!, publicId('acct', theirs.account));
  const intent = await complete(id);
  await rig.sync('checkout.session', id);
  expect([await balances(), await orphanOf(rig, intent)]).toEqual([before, 'no_price']);
});

it('does not take metadata for an account: the customer says whose it is', async () => {
  const before = await balances();
  const metadata = { tollgate_account: publicId('acct', theirs.account), tollgate_checkout: 'chk_0000000000001' };
  const intent = await complete(await forged(mine.customer, metadata));
  await rig.sync('payment_intent', intent);
  expect(await balances()).toEqual(before);
});

it('gives a reference of another account nothing where the customer is somebody’s', async () => {
  const product = (await rig.client.products.create({ name: 'Thing' })).id;
  const { id: price } = await rig.client.prices.create({ currency: 'usd', unit_amount: 700, product });
  await rig.applyCatalog([{ kind: 'pack', name: 'thing', body: { stripe_price: price, credits: '10' } }]);
  const [had, others] = await balances();
  const { id } = await rig.client.checkout.sessions.create({
    mode: 'payment',
    customer: mine.customer,
    client_reference_id: publicId('acct', theirs.account),
    line_items: [{ price, quantity: 1 }],
    success_url: 'https://example.com/done',
  });
  await complete(id);
  await rig.sync('checkout.session', id);
  expect(await balances()).toEqual([had! + 10, others]);
});

it('grants the checkout that a session is of to whom it was made for, though its customer is another’s by now', async () => {
  const first = await rig.payer();
  const { id } = await rig.checkout(first, TERMS);
  const intent = await complete(id);
  await rig.pool.query('UPDATE accounts SET stripe_customer_id = NULL WHERE account_id = $1', [first.account]);
  const second = await rig.payer({ customer: first.customer });
  await rig.sync('payment_intent', intent);
  expect([await balanceOf(rig, first.account), await balanceOf(rig, second.account)]).toEqual([100, 0]);
});

it.each([
  ['amount_differs', { amount_minor: 2000 }],
  ['currency_differs', { currency: 'jpy' }],
])('lists as %s what is not what the checkout asked', async (reason, row) => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, TERMS);
  const [[column, value]] = Object.entries(row) as [[string, unknown]];
  await rig.pool.query(`UPDATE checkouts SET ${column} = $1 WHERE session_id = $2`, [value, id]);
  const intent = await complete(id);
  await rig.sync('payment_intent', intent);
  expect([await orphanOf(rig, intent), await balanceOf(rig, payer.account)]).toEqual([reason, 0]);
});

it('grants nothing for money of the other mode', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, TERMS);
  const intent = await complete(id);
  const live = { ...rig.deps, stripe: { ...rig.deps.stripe, livemode: true } };
  for (const ref of [
    { kind: 'payment_intent', id: intent },
    { kind: 'checkout.session', id },
  ])
    expect(await sync(live, ref, null)).toEqual({ changed: false, ours: false });
  expect([await balanceOf(rig, payer.account), await paymentOf(rig, intent)]).toEqual([0, null]);
});

it('ignores kinds that it does not know, and what was deleted; does not pass over what must exist', async () => {
  for (const kind of ['product', 'constructor', '__proto__', 'radar.early_fraud_warning', '']) {
    expect(await rig.sync(kind, 'x_1')).toEqual({ changed: false, ours: false });
  }
  for (const kind of ['customer', 'invoice', 'credit_note', 'payment_method']) {
    expect(await rig.sync(kind, 'gone_1')).toEqual({ changed: false, ours: false });
  }
  for (const kind of ['payment_intent', 'checkout.session', 'charge', 'refund', 'dispute']) {
    await expect(rig.sync(kind, 'gone_1')).rejects.toMatchObject({ code: 'resource_missing' });
  }
});
