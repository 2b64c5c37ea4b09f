/** Random lives of accounts: whatever fails, in whatever order, no more is charged than the cap, and what was charged is granted. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseCredits } from '../../../src/lib/money.ts';
import { keepRecharge } from '../../../src/payments/recharge/settings.ts';
import type { Fault } from '../../support/stripe-sim/faults.ts';
import { type Buyer, createRechargeRig, overlapping, type RechargeRig } from './rig.ts';

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const LIVES = Number(process.env.LIVES ?? 3);
const STEPS = 14;
const CAP = 4_000n;
const CHARGE = { method: 'POST', path: '/v1/payment_intents' } as const;
const FAULTS: Fault[] = [
  { ...CHARGE, kind: 'timeout_after', ms: 1 },
  { ...CHARGE, kind: 'timeout_before', ms: 1 },
  { ...CHARGE, kind: 'status', status: 500, when: 'after' },
  { ...CHARGE, kind: 'status', status: 500, when: 'before', stored: true },
  { ...CHARGE, kind: 'status', status: 409 },
  { ...CHARGE, kind: 'status', status: 429 },
  { kind: 'timeout_before', method: 'GET', path: '/v1/payment_intents', ms: 1 },
  { kind: 'decline', code: 'insufficient_funds' },
  { kind: 'decline', code: 'lost_card' },
  { kind: 'decline', code: 'authentication_required' },
];
const CARDS = ['pm_card_visa', 'pm_card_mastercard', 'pm_card_amex', 'pm_card_authenticationRequired'];

let rig: RechargeRig;
beforeAll(async () => {
  rig = await createRechargeRig(SEED);
});
afterAll(() => rig.drop());

/** Mulberry32: numbers in [0, 1) that a seed decides. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Step = (buyer: Buyer, pick: <T>(from: readonly T[]) => T) => Promise<unknown>;

const STEPS_OF: Record<string, Step> = {
  spend: (buyer, pick) => rig.spend(buyer, pick(['40', '90', '150'])),
  spendAndBuy: async (buyer, pick) => {
    await rig.spend(buyer, pick(['90', '150']));
    await rig.work();
  },
  fault: (_buyer, pick) => rig.stripe.sim.fault(pick(FAULTS)),
  work: () => rig.work(),
  workTwice: () => Promise.all([rig.work(), rig.work(), rig.sweep()]),
  // Whoever claimed what is due has died.
  die: () => rig.pool.query("SELECT recharge_claim(4, '2 minutes')"),
  pass: (_buyer, pick) => rig.pass(pick([0.1, 1.1, 25])),
  passAndSweep: async (_buyer, pick) => {
    await rig.pass(pick([0.1, 7]));
    await rig.sweep();
  },
  hear: async (buyer, pick) => {
    const intents = await rig.stripe.sim.objects<{ id: string; object: string; customer: string }>('payment_intent');
    const own = intents.filter(({ customer }) => customer === buyer.customer);
    // A webhook whose sync fails is tried again later.
    if (own.length > 0) await rig.hear('payment_intent', pick(own).id).catch(() => {});
  },
  enable: ({ account }) => {
    const threshold = parseCredits('20')!;
    return keepRecharge(rig.pool, account, { enabled: true, threshold, pack: 'starter', monthlyCapMinor: CAP });
  },
  card: async (buyer, pick) => {
    await rig.attach(buyer, pick(CARDS));
    await rig.hear('customer', buyer.customer).catch(() => {});
  },
};

/** Cents that were charged in this month (UTC), by the database's clock: the simulator's has moved on. */
async function chargedThisMonth(buyer: Buyer): Promise<number> {
  const charges = await rig.stripe.sim.objects<{
    id: string;
    object: string;
    customer: string;
    status: string;
    amount: number;
    created: number;
  }>('charge');
  const now = await rig.stripe.sim.now();
  const today = new Date();
  const month = Date.UTC(today.getUTCFullYear(), today.getUTCMonth()) / 1000;
  const at = (created: number) => Date.now() / 1000 - (now - created);
  return charges
    .filter(
      ({ customer, status, created }) => customer === buyer.customer && status === 'succeeded' && at(created) >= month,
    )
    .reduce((sum, { amount }) => sum + amount, 0);
}

async function live(seed: number): Promise<void> {
  const random = numbers(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const buyer = await rig.buyer({ credits: '100', cap: CAP });
  const story: string[] = [];
  for (let step = 0; step < STEPS; step++) {
    const name = pick(Object.keys(STEPS_OF));
    story.push(name);
    await STEPS_OF[name]!(buyer, pick);
    const charged = await chargedThisMonth(buyer);
    expect(charged, `seed ${seed}: ${story.join(', ')}`).toBeLessThanOrEqual(Number(CAP.toString()));
    const money = await rig.money(buyer);
    expect(money.paid, `seed ${seed}: ${story.join(', ')}`).toBeLessThanOrEqual(money.charged);
  }
  // Quiet again: whatever was not known is, and every charge is granted.
  await rig.stripe.sim.clearFaults();
  for (let turn = 0; turn < 3; turn++) {
    await rig.pass(25);
    await rig.work();
  }
  const { charged, paid, granted } = await rig.money(buyer);
  const rows = await rig.rows(buyer);
  const open = rows.filter(({ status }) => !['succeeded', 'failed', 'canceled'].includes(status));
  expect({ paid, granted, open }, `seed ${seed}: ${story.join(', ')}`).toEqual({
    paid: charged,
    granted: `${(charged / 1000) * 110}`,
    open: [],
  });
}

test(`whatever fails in whatever order: at most the cap is charged, one at a time, and all of it is granted (SEED=${SEED})`, async () => {
  for (let index = 0; index < LIVES; index++) await live(SEED + index);
  expect(await overlapping(rig)).toEqual([]);
}, 600_000);
