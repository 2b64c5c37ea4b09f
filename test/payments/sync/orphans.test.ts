import { afterAll, beforeAll, expect, it } from 'vitest';
import { eraseAccount } from '../../../src/accounts/accounts.ts';
import { publicId } from '../../../src/lib/ids.ts';
import { balanceOf, createPayRig, orphanOf, type PayRig, paymentOf } from './rig.ts';

let rig: PayRig;
/** Of a pack of 100 credits; of nothing that we sell. */
const prices = { pack: '', shirt: '' };
beforeAll(async () => {
  rig = await createPayRig();
  const product = (await rig.client.products.create({ name: 'Thing' })).id;
  const price = async () => (await rig.client.prices.create({ currency: 'usd', unit_amount: 700, product })).id;
  prices.pack = await price();
  prices.shirt = await price();
  const body = { stripe_price: prices.pack, credits: '100', bonus_credits: '5' };
  await rig.applyCatalog([{ kind: 'pack', name: 'outside', body }]);
});
afterAll(() => rig.close());

/** Somebody pays by a payment link; what became of it. */
async function paidByLink(
  bought: Array<{ price: string; quantity?: number }>,
  options: { client_reference_id?: string; metadata?: Record<string, string> } = {},
) {
  const { id } = await rig.stripe.paymentLink(bought, options);
  const intent = String((await rig.stripe.completeSession(id)).payment_intent);
  const result = await rig.sync('checkout.session', id);
  return { intent, ...result, reason: await orphanOf(rig, intent) };
}

it('grants what was sold outside of Tollgate, when its price and whose it is are known', async () => {
  const { account } = await rig.payer({ externalId: 'user-1', customer: null });
  const bought = [{ price: prices.pack, quantity: 2 }, { price: prices.shirt }];
  const { intent, reason } = await paidByLink(bought, { client_reference_id: 'user-1' });
  expect([reason, await balanceOf(rig, account)]).toEqual([null, 210]);
  expect(await paymentOf(rig, intent)).toMatchObject({ kind: 'topup', reference: prices.pack, paid: 2100n });
});

it('settles what a payment granted for good, whatever is sold at its prices since', async () => {
  const { account } = await rig.payer({ externalId: 'user-0', customer: null });
  const later = (await rig.client.prices.create({ currency: 'usd', unit_amount: 700, product_data: { name: 'Later' } }))
    .id;
  const bought = [{ price: prices.pack }, { price: later }];
  const { intent } = await paidByLink(bought, { client_reference_id: 'user-0' });
  await rig.applyCatalog([{ kind: 'pack', name: 'later', body: { stripe_price: later, credits: '1000' } }]);
  expect((await rig.sync('payment_intent', intent)).changed).toBe(false);
  expect(await balanceOf(rig, account)).toBe(105);
});

it('never binds the account to the customer of a link, which anybody may open for it', async () => {
  const { account } = await rig.payer({ externalId: 'user-2', customer: null });
  await paidByLink([{ price: prices.pack }], { client_reference_id: 'user-2' });
  const { rows } = await rig.pool.query('SELECT stripe_customer_id FROM accounts WHERE account_id = $1', [account]);
  expect(rows).toEqual([{ stripe_customer_id: null }]);
});

it.each([
  ['no_account', () => prices.pack, 'nobody-1'],
  ['unrelated', () => prices.shirt, 'nobody-2'],
])('lists as %s what is nobody’s, once, and ignores it', async (expected, price, reference) => {
  const { intent, ours, changed, reason } = await paidByLink([{ price: price() }], { client_reference_id: reference });
  expect({ ours, changed, reason }).toEqual({ ours: false, changed: true, reason: expected });
  expect((await rig.sync('payment_intent', intent)).changed).toBe(false);
});

it('lists as no_price what an account paid for that we do not sell, until we do', async () => {
  const payer = await rig.payer();
  const fields = { amount: 500, currency: 'usd', customer: payer.customer, confirm: true };
  const { data } = await rig.client.paymentMethods.list({ customer: payer.customer });
  const { id } = await rig.client.paymentIntents.create({ ...fields, payment_method: data[0]!.id });
  await rig.sync('payment_intent', id);
  expect([await orphanOf(rig, id), await balanceOf(rig, payer.account)]).toEqual(['no_price', 0]);

  const sold = (await rig.client.prices.create({ currency: 'usd', unit_amount: 700, product_data: { name: 'New' } }))
    .id;
  await rig.payer({ externalId: 'user-3', customer: null });
  const { intent, reason } = await paidByLink([{ price: sold }], { client_reference_id: 'user-3' });
  expect(reason).toBe('no_price');
  await rig.applyCatalog([{ kind: 'pack', name: 'new', body: { stripe_price: sold, credits: '7' } }]);
  await rig.sync('payment_intent', intent);
  expect([await orphanOf(rig, intent), (await paymentOf(rig, intent))?.granted]).toEqual([null, 7n * 10n ** 9n]);
});

it('grants it once somebody says whose customer it is', async () => {
  const { account } = await rig.payer({ customer: null });
  const { id } = await rig.stripe.paymentLink([{ price: prices.pack }], { customer_creation: 'always' });
  const session = await rig.stripe.completeSession(id);
  const intent = String(session.payment_intent);
  await rig.sync('payment_intent', intent);
  expect(await orphanOf(rig, intent)).toBe('no_account');
  await rig.pool.query('UPDATE accounts SET stripe_customer_id = $1 WHERE account_id = $2', [
    session.customer,
    account,
  ]);
  await rig.sync('payment_intent', intent);
  expect([await orphanOf(rig, intent), await balanceOf(rig, account)]).toEqual([null, 105]);
});

it('leaves nothing to decide once the money went back', async () => {
  const { intent, reason } = await paidByLink([{ price: prices.pack }]);
  expect(reason).toBe('no_account');
  const { id } = await rig.stripe.refund({ payment_intent: intent });
  await rig.sync('refund', id);
  expect(await orphanOf(rig, intent)).toBeNull();
});

it('gives nothing to an account that was erased', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, { credits: 100 });
  const intent = String((await rig.stripe.completeSession(id)).payment_intent);
  await eraseAccount(rig.pool, payer.account);
  await rig.sync('payment_intent', intent);
  expect([await orphanOf(rig, intent), await balanceOf(rig, payer.account)]).toEqual(['account_erased', 0]);
});

it('counts a pack bought outside as often as it says, and lists more than a lot can hold', async () => {
  await rig.applyCatalog([{ kind: 'pack', name: 'vast', body: { stripe_price: prices.shirt, credits: '600000000' } }]);
  const { account } = await rig.payer({ externalId: 'user-4', customer: null });
  const { reason } = await paidByLink([{ price: prices.shirt, quantity: 2 }], {
    client_reference_id: publicId('acct', account),
  });
  expect([reason, await balanceOf(rig, account)]).toEqual(['too_much', 0]);
});
