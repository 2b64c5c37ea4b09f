/** Add-ons beside a plan: what comes without credits takes none with it when it goes. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSubscriptionRig, type SubscriptionRig } from './rig.ts';

let rig: SubscriptionRig;
let pro: string;
let addon: string;
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = { included_credits: { credits: '10000', every: 'month' }, grace_days: 3 };
  [pro] = (await rig.plan('pro', included, [2000, 'month'])) as [string];
  [addon] = (await rig.plan('support', {}, [10_000, 'month'])) as [string];
});
afterAll(() => rig.drop());

test('an add-on that comes without credits takes none with it', async () => {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: pro }, { price: addon }] });
  await rig.heard();
  expect(await rig.held(account)).toBe('10000');
  const item = sub.items.data.find(({ price }) => price.id === addon)!;
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: item.id, deleted: true }],
    proration_behavior: 'always_invoice',
  });
  await rig.heard();
  expect(await rig.held(account)).toBe('10000');
});
test('one that is added later goes alone, and the plan beside it still gives back its own', async () => {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: pro }] });
  await rig.heard();
  const change = (items: object[]) =>
    rig.stripe.subscriptions.update(sub.id, { items, proration_behavior: 'always_invoice' });
  const { items } = await change([{ price: addon }]);
  await rig.heard();
  await change([{ id: items.data.find(({ price }) => price.id === addon)!.id, deleted: true }]);
  await rig.heard((all) => all.toReversed());
  expect(await rig.held(account)).toBe('10000');
  await rig.stripe.subscriptions.cancel(sub.id, { prorate: true, invoice_now: true });
  await rig.heard();
  expect(Number(await rig.held(account))).toBeLessThan(100);
});

test('up, down, off and on beside an add-on leave what is paid for, and no more', async () => {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: pro }, { price: addon }] });
  const change = async (changeOf: (item: string, price: string) => object, more: object[] = []) => {
    const { items } = await rig.stripe.subscriptions.retrieve(sub.id);
    const changed = items.data.map(({ id, price }) => changeOf(id, price.id));
    await rig.stripe.subscriptions.update(sub.id, {
      items: [...changed, ...more],
      proration_behavior: 'always_invoice',
    });
    await rig.heard();
    return Number(await rig.held(account));
  };
  await rig.heard();
  for (let times = 0; times < 2; times++) {
    expect(await change((id, price) => (price === pro ? { id, deleted: true } : { id }))).toBeLessThan(100);
    expect(await change((id) => ({ id }), [{ price: pro }])).toBeCloseTo(10_000, -2);
  }
  for (let times = 0; times < 2; times++) {
    expect(await change((id) => ({ id, quantity: 5 }))).toBeCloseTo(50_000, -3);
    expect(await change((id) => ({ id, quantity: 1 }))).toBeCloseTo(10_000, -2);
  }
});
