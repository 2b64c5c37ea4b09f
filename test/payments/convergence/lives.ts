/** Lives of payments, by scenario of the issue: what happens at Stripe, and what the account has after each step. */
import { systemClock } from '../../../src/lib/clock.ts';
import { mintId, publicId } from '../../../src/lib/ids.ts';
import type { Payer, PayRig } from '../sync/rig.ts';
import type { Life } from './explore.ts';

/** 1,050 credits for 9.00 USD. */
const STARTER = { credits: 1000, bonus: 50, amountMinor: 900 };

type Begin = (rig: PayRig, payer: Payer) => Promise<Pick<Life, 'steps' | 'balances'>>;

const card: Begin = async (rig, payer) => {
  const { id } = await rig.checkout(payer, STARTER);
  return {
    steps: [
      () => rig.stripe.completeSession(id, { method: 'declined' }),
      () => rig.stripe.completeSession(id, { method: 'card' }),
    ],
    balances: [0, 1050],
  };
};

const asynchronous: Begin = async (rig, payer) => {
  const { id } = await rig.checkout(payer, STARTER);
  return {
    steps: [() => rig.stripe.completeSession(id, { method: 'async' }), () => rig.stripe.settleAsync(id, 'succeeded')],
    balances: [0, 1050],
  };
};

const refused: Begin = async (rig, payer) => {
  const { id } = await rig.checkout(payer, STARTER);
  return {
    steps: [() => rig.stripe.completeSession(id, { method: 'async' }), () => rig.stripe.settleAsync(id, 'failed')],
    balances: [0, 0],
  };
};

const free: Begin = async (rig, payer) => {
  const { id: coupon } = await rig.client.coupons.create({ percent_off: 100, duration: 'once' });
  await rig.client.promotionCodes.create({ promotion: { type: 'coupon', coupon }, code: 'NOTHING' });
  const { id } = await rig.checkout(payer, STARTER);
  return { steps: [() => rig.stripe.completeSession(id, { promotion_code: 'NOTHING' })], balances: [1050] };
};

/** Somebody else's session beside it: two payments of one account. */
const two: Begin = async (rig, payer) => {
  const first = await rig.checkout(payer, STARTER);
  const second = await rig.checkout(payer, { ...STARTER, credits: 10, bonus: 0 });
  return {
    steps: [
      () => rig.stripe.completeSession(first.id),
      () => rig.stripe.completeSession(second.id),
      async () => rig.stripe.refund({ payment_intent: await intentOf(rig, first.id) }),
    ],
    balances: [1050, 1060, 10],
  };
};

const refund: Begin = async (rig, payer) => {
  const { id } = await rig.checkout(payer, STARTER);
  let first = '';
  return {
    steps: [
      () => rig.stripe.completeSession(id),
      async () => {
        first = (await rig.stripe.refund({ payment_intent: await intentOf(rig, id), amount: 300 })).id;
      },
      async () => rig.stripe.refund({ payment_intent: await intentOf(rig, id), amount: 150 }),
      () => rig.stripe.failRefund(first),
    ],
    balances: [1050, 700, 525, 875],
  };
};

const dispute: Begin = async (rig, payer) => {
  const { id } = await rig.checkout(payer, STARTER);
  let disputed = '';
  return {
    steps: [
      async () => {
        await rig.stripe.completeSession(id);
        const { latest_charge: charge } = await rig.client.paymentIntents.retrieve(await intentOf(rig, id));
        disputed = (await rig.stripe.dispute(String(charge), 'inquiry')).id;
      },
      () => rig.stripe.withdrawDispute(disputed),
      async () => rig.stripe.refund({ payment_intent: await intentOf(rig, id), amount: 450 }),
      () => rig.stripe.closeDispute(disputed, 'won'),
    ],
    balances: [1050, 0, 0, 525],
  };
};

const recharge: Begin = async (rig, payer) => {
  const id = mintId(systemClock);
  await rig.pool.query(
    `INSERT INTO recharges (recharge_id, account_id, pack, version, packs, credits, bonus_credits, amount_minor, customer, status)
     VALUES ($1, $2, 'starter', 1, 1, 1000000000000, 50000000000, 900, $3, 'charging')`,
    [id, payer.account, payer.customer],
  );
  let intent = '';
  return {
    steps: [
      async () => {
        await rig.stripe.fault({ kind: 'requires_action' });
        const made = await rig.client.paymentIntents.create({
          amount: 900,
          currency: 'usd',
          customer: payer.customer,
          payment_method: (await rig.client.paymentMethods.list({ customer: payer.customer })).data[0]!.id,
          confirm: true,
          metadata: { tollgate_account: publicId('acct', payer.account), tollgate_recharge: publicId('rch', id) },
        });
        intent = made.id;
      },
      () => rig.stripe.authenticate(intent),
      () => rig.stripe.refund({ payment_intent: intent, amount: 300 }),
    ],
    balances: [0, 1050, 700],
  };
};

const subscription: Begin = async (rig, payer) => {
  const id = await subscribe(rig, payer, 1);
  return {
    steps: [() => rig.stripe.completeSession(id), () => rig.stripe.advance({ days: 32 })],
    balances: [500, 1000],
  };
};

const proration: Begin = async (rig, payer) => {
  const id = await subscribe(rig, payer, 1);
  return {
    steps: [
      () => rig.stripe.completeSession(id),
      async () => {
        const session = await rig.client.checkout.sessions.retrieve(id);
        const of = await rig.client.subscriptions.retrieve(String(session.subscription));
        const items = [{ id: of.items.data[0]!.id, quantity: 3 }];
        await rig.client.subscriptions.update(of.id, { items, proration_behavior: 'always_invoice' });
      },
    ],
    balances: [500, 1500],
  };
};

export const LIVES: Readonly<Record<string, Begin>> = {
  card,
  asynchronous,
  refused,
  free,
  two,
  refund,
  dispute,
  recharge,
  subscription,
  proration,
};

/** A life that is about to begin, of an account of its own. */
export async function begin(rig: PayRig, name: string): Promise<Life> {
  const payer = await rig.payer();
  return { name, account: payer.account, ...(await LIVES[name]!(rig, payer)) };
}

async function intentOf(rig: PayRig, session: string): Promise<string> {
  return String((await rig.client.checkout.sessions.retrieve(session)).payment_intent);
}

/** A session for a plan of 500 credits a period. */
async function subscribe(rig: PayRig, payer: Payer, quantity: number): Promise<string> {
  const product = await rig.client.products.create({ name: 'Pro' });
  const price = await rig.client.prices.create({
    currency: 'usd',
    unit_amount: 2000,
    product: product.id,
    recurring: { interval: 'month' },
  });
  const name = `pro-${price.id}`;
  const body = {
    models: ['*'],
    stripe_prices: [price.id],
    included_credits: { credits: '500', every: 'period', rollover: 'all' },
  };
  await rig.applyCatalog([{ kind: 'plan', name, body }]);
  await rig.deps.catalogs.refresh();
  const session = await rig.client.checkout.sessions.create({
    mode: 'subscription',
    customer: payer.customer,
    client_reference_id: publicId('acct', payer.account),
    line_items: [{ price: price.id, quantity }],
    success_url: 'https://example.com/done',
  });
  return session.id;
}
