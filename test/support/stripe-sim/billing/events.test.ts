import type Stripe from 'stripe';
import { expect, test } from 'vitest';
import { differences } from './changes.ts';
import { bench } from './harness.ts';

test('previous_attributes hold what differs only: nested hashes theirs, lists whole', () => {
  const before = { a: 1, deep: { x: 1, y: 2 }, list: [{ n: 1 }], same: [1], gone: null };
  const after = { a: 2, deep: { x: 1, y: 3 }, list: [{ n: 2 }], same: [1], gone: null, fresh: 'f' };
  expect(differences(before, after)).toEqual({ a: 1, deep: { y: 2 }, list: [{ n: 1 }], fresh: null });
});

test('a subscription paid at once is told of in this order', async () => {
  const at = bench();
  const [customer, price] = [await at.customer(), await at.price(2000)];
  at.events();
  await at.stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
  const events = at.events();
  expect(events.map(({ type }) => type)).toEqual([
    'customer.subscription.created',
    'invoice.created',
    'invoice.finalized',
    'payment_intent.created',
    'charge.succeeded',
    'payment_intent.succeeded',
    'invoice_payment.paid',
    'invoice.updated',
    'invoice.paid',
    'invoice.payment_succeeded',
    'customer.subscription.updated',
  ]);
  expect(events[0]?.data.object).toMatchObject({ status: 'incomplete' });
  expect(events.at(-1)?.data.previous_attributes).toEqual({ status: 'incomplete' });
});

test('an event shows its object as it was then, whatever became of it', async () => {
  const at = bench();
  const [customer, price] = [await at.customer(), await at.price(2000)];
  at.events();
  const sub = await at.stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
  await at.stripe.subscriptions.update(sub.id, { metadata: { seats: '3' } });
  await at.stripe.subscriptions.cancel(sub.id);
  const told = at.events().filter(({ type }) => type.startsWith('customer.subscription.'));
  const objects = told.map(({ data }) => data.object as unknown as Stripe.Subscription);
  expect(objects.map(({ status, metadata }) => [status, metadata.seats])).toEqual([
    ['incomplete', undefined],
    ['active', undefined],
    ['active', '3'],
    ['canceled', '3'],
  ]);
  expect(told[2]?.data.previous_attributes).toEqual({ metadata: { seats: null } });
});
