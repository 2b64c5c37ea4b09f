/**
 * Random lives of a payment: refunds that succeed, wait, fail; disputes that withdraw, reinstate, are lost; inquiries. After each step
 * what was clawed back is floor(granted × reversed ÷ paid), never below nothing nor above what was granted. STRIPE_SEED=… replays,
 * STRIPE_LIVES=… makes it a long one.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { balanceOf, createPayRig, type PayRig, paidCheckout, paymentOf } from './rig.ts';

const SEED = Number(process.env.STRIPE_SEED ?? Date.now() % 2 ** 31);
const LIVES = Number(process.env.STRIPE_LIVES ?? 4);
const STEPS = 10;

let rig: PayRig;
beforeAll(async () => {
  console.log(`histories: STRIPE_SEED=${SEED} STRIPE_LIVES=${LIVES}`);
  rig = await createPayRig(SEED);
});
afterAll(() => rig.close());

interface Move {
  does: 'refund' | 'wait' | 'fail' | 'dispute' | 'inquire' | 'win' | 'lose';
  /** Of what there is, as a share. */
  part: number;
}
const moves = fc.array(
  fc.record({
    does: fc.constantFrom<Move['does'][]>('refund', 'wait', 'fail', 'dispute', 'inquire', 'win', 'lose'),
    part: fc.integer({ min: 1, max: 100 }),
  }),
  { minLength: STEPS, maxLength: STEPS },
);

/** One of several, by share. */
const pick = <T>(all: readonly T[], part: number): T | undefined => all[Math.floor((all.length * (part - 1)) / 100)];

/** What is not possible at Stripe is not done. Gives what there is to hear of. */
async function act(move: Move, paid: { intent: string; charge: string; amount: number }): Promise<void> {
  const { stripe } = rig;
  const amount = Math.max(1, Math.floor((paid.amount * move.part) / 100));
  const of = { payment_intent: paid.intent };
  const refunds = (await rig.client.refunds.list(of)).data.filter(({ status }) => status !== 'failed');
  const disputes = (await rig.client.disputes.list(of)).data.filter(({ status }) => status === 'needs_response');
  const left = paid.amount - refunds.reduce((sum, one) => sum + one.amount, 0);
  const refund = pick(refunds, move.part);
  const dispute = pick(disputes, move.part);
  if (move.does === 'refund' && left > 0) await stripe.refund({ ...of, amount: Math.min(left, amount) });
  if (move.does === 'wait' && left > 0)
    await stripe.refund({ ...of, amount: Math.min(left, amount), status: 'pending' });
  if (move.does === 'fail' && refund !== undefined) await stripe.failRefund(refund.id);
  if (move.does === 'dispute') await stripe.dispute(paid.charge, 'chargeback', { amount });
  if (move.does === 'inquire') await stripe.dispute(paid.charge, 'inquiry', { amount });
  if (move.does === 'win' && dispute !== undefined) await stripe.closeDispute(dispute.id, 'won');
  if (move.does === 'lose' && dispute !== undefined) await stripe.closeDispute(dispute.id, 'lost');
}

/** What went back, worked out from the simulator's own books. */
async function reversedOf(intent: string, amount: number): Promise<bigint> {
  const refunds = (await rig.client.refunds.list({ payment_intent: intent, limit: 100 })).data;
  const disputes = (await rig.client.disputes.list({ payment_intent: intent, limit: 100 })).data;
  let sum = 0;
  for (const one of refunds) if (one.status !== 'failed' && one.status !== 'canceled') sum += one.amount;
  for (const one of disputes) {
    const out = one.balance_transactions.filter(({ reporting_category: what }) => what === 'dispute').length;
    const back = one.balance_transactions.filter(({ reporting_category: what }) => what === 'dispute_reversal').length;
    if (out > back) sum += one.amount;
  }
  return BigInt(Math.min(sum, amount));
}

it('claws back the share that went back, after each step of any history', async () => {
  const life = async (amount: number, credits: number, bonus: number, history: Move[]): Promise<void> => {
    const payer = await rig.payer();
    const paid = { amount, ...(await paidCheckout(rig, payer, { credits, bonus, amountMinor: amount })) };
    const granted = BigInt(credits + bonus) * 10n ** 9n;
    for (const move of history) {
      await act(move, paid);
      await rig.sync('payment_intent', paid.intent);
      const { clawed } = (await paymentOf(rig, paid.intent))!;
      expect(clawed).toBe((granted * (await reversedOf(paid.intent, amount))) / BigInt(amount));
      expect(clawed >= 0n && clawed <= granted).toBe(true);
      expect(await balanceOf(rig, payer.account)).toBe(Number(granted - clawed) / 1e9);
    }
  };
  const amounts = fc.integer({ min: 50, max: 100_000 });
  const credits = fc.integer({ min: 1, max: 100_000 });
  await fc.assert(fc.asyncProperty(amounts, credits, fc.nat(500), moves, life), { seed: SEED, numRuns: LIVES });
}, 3_600_000);
