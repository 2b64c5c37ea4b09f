/**
 * Disputes. Money moves by balance transactions, and only they say whether it is out.
 *
 *     inquiry:    warning_needs_response ─▶ warning_closed
 *                          └─ withdrawn ─▶ needs_response
 *     chargeback: needs_response (withdrawn: money out) ─▶ under_review ─▶ won (reinstated: money back) | lost
 *     prevented:  stopped before it began; the money goes back to the payer by a withdrawal or a refund, or not at all
 */
import type Stripe from 'stripe';
import { createTransaction } from './charges.ts';
import type { Call, Sim } from './core.ts';
import { StripeFault } from './fault.ts';
import { flag, hash, metadata, text } from './params.ts';

type Dispute = Stripe.Dispute;
type Charge = Stripe.Charge;

/** Stripe's fee for a dispute, in minor units. */
const FEE = 1500;

const EVIDENCE = [
  'access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal',
  'customer_communication customer_email_address customer_name customer_purchase_ip customer_signature',
  'duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt',
  'refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation shipping_address',
  'shipping_carrier shipping_date shipping_documentation shipping_tracking_number uncategorized_file uncategorized_text',
]
  .join(' ')
  .split(' ');

export interface DisputeOptions {
  /** Minor units; the whole charge unless told. */
  amount?: number;
  /** Whether a chargeback takes the money at once, as Stripe does: true unless told. */
  withdraw?: boolean;
  reason?: string;
}

/** The customer's bank disputes a charge. An inquiry moves no money. */
export function createDispute(
  sim: Sim,
  charge: Charge,
  kind: 'chargeback' | 'inquiry' | 'prevented',
  options: DisputeOptions = {},
): Dispute {
  if (charge.status !== 'succeeded') throw new StripeFault(`Charge ${charge.id} has not succeeded.`);
  const status = { chargeback: 'needs_response', inquiry: 'warning_needs_response', prevented: 'prevented' } as const;
  const dispute: Dispute = {
    id: sim.id('du'),
    object: 'dispute',
    amount: options.amount ?? charge.amount,
    balance_transactions: [],
    charge: charge.id,
    created: sim.now(),
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: {
      ...Object.fromEntries(EVIDENCE.map((key) => [key, null])),
      enhanced_evidence: {},
    } as unknown as Dispute['evidence'],
    evidence_details: {
      due_by: sim.now() + 7 * 86_400,
      enhanced_eligibility: {},
      has_evidence: false,
      past_due: false,
      submission_count: 0,
      submission_method: 'not_submitted',
    },
    intended_submission_method: null,
    is_charge_refundable: kind === 'inquiry',
    livemode: charge.livemode,
    metadata: {},
    payment_intent: charge.payment_intent,
    payment_method_details: {
      type: 'card',
      card: {
        brand: charge.payment_method_details?.card?.brand ?? 'visa',
        case_type: kind === 'inquiry' ? 'inquiry' : 'chargeback',
        network: 'visa',
        network_reason_code: '10.4',
      },
    },
    reason: options.reason ?? 'fraudulent',
    status: status[kind],
  };
  sim.put(dispute);
  sim.change(charge, { disputed: true });
  sim.emit('charge.dispute.created', dispute);
  if (kind === 'chargeback' && options.withdraw !== false) withdraw(sim, dispute);
  return dispute;
}

/** Whether the disputed money is out: taken more often than given back. Amounts differ where the rate has changed. */
export function isOut(dispute: { balance_transactions: Array<{ amount: number }> }): boolean {
  return dispute.balance_transactions.reduce((sum, { amount }) => sum + Math.sign(amount), 0) < 0;
}

/** The disputed amount leaves the balance; an inquiry becomes a chargeback by it. */
export function withdraw(sim: Sim, dispute: Dispute): Dispute {
  if (isOut(dispute)) throw new StripeFault(`The money of ${dispute.id} is out already.`);
  const previous = book(sim, dispute, -dispute.amount, FEE);
  if (dispute.status.startsWith('warning_')) {
    sim.change(dispute, { status: 'needs_response', is_charge_refundable: false });
    sim.emit('charge.dispute.updated', dispute, { ...previous, status: 'warning_needs_response' });
  }
  sim.emit('charge.dispute.funds_withdrawn', dispute, previous);
  return dispute;
}

/** The disputed amount comes back. */
export function reinstate(sim: Sim, dispute: Dispute): Dispute {
  if (!isOut(dispute)) throw new StripeFault(`The money of ${dispute.id} is not out.`);
  const previous = book(sim, dispute, dispute.amount, -FEE);
  sim.emit('charge.dispute.funds_reinstated', dispute, previous);
  return dispute;
}

function book(sim: Sim, dispute: Dispute, amount: number, fee: number): Partial<Dispute> {
  const reporting_category = amount < 0 ? 'dispute' : 'dispute_reversal';
  const transaction = createTransaction(sim, {
    amount,
    currency: dispute.currency,
    fee,
    reporting_category,
    source: dispute.id,
    type: 'adjustment',
    description: `Chargeback ${amount < 0 ? 'withdrawal' : 'reversal'} for ${dispute.charge}`,
  });
  return sim.change(dispute, { balance_transactions: [...dispute.balance_transactions, transaction] });
}

/** Ends a dispute. One that was won gives the money back first, unless `moneyBack` is false. */
export function closeDispute(
  sim: Sim,
  dispute: Dispute,
  status: 'won' | 'lost' | 'warning_closed' | 'prevented',
  moneyBack = true,
): Dispute {
  if (status === 'won' && moneyBack && isOut(dispute)) reinstate(sim, dispute);
  const previous = sim.change(dispute, { status });
  sim.emit('charge.dispute.closed', dispute, previous);
  return dispute;
}

function update(call: Call): Dispute {
  const { form, sim } = call;
  const dispute = sim.get<Dispute>('dispute', call.params.id ?? '');
  const fields: Partial<Dispute> = { metadata: metadata(form, dispute.metadata) };
  const evidence = hash(form, 'evidence');
  if (evidence !== undefined) {
    fields.evidence = { ...dispute.evidence, ...evidence } as Dispute['evidence'];
    fields.evidence_details = { ...dispute.evidence_details, has_evidence: true };
    if (flag(form, 'submit') !== false && dispute.status === 'needs_response') fields.status = 'under_review';
  }
  const previous = sim.change(dispute, fields);
  if (Object.keys(previous).length > 0) sim.emit('charge.dispute.updated', dispute, previous);
  return dispute;
}

export function disputeRoutes(sim: Sim): void {
  sim.link('dispute', 'charge', 'charge');
  sim.link('dispute', 'payment_intent', 'payment_intent');
  sim.route('GET', '/v1/disputes', (call) => {
    const charge = text(call.query, 'charge');
    const intent = text(call.query, 'payment_intent');
    return sim.list<Dispute>(
      call,
      'dispute',
      (one) =>
        (charge === undefined || one.charge === charge) && (intent === undefined || one.payment_intent === intent),
    );
  });
  sim.route('GET', '/v1/disputes/:id', (call) => sim.get('dispute', call.params.id ?? ''));
  sim.route('POST', '/v1/disputes/:id', update);
  sim.route('POST', '/v1/disputes/:id/close', (call) =>
    closeDispute(sim, sim.get<Dispute>('dispute', call.params.id ?? ''), 'lost'),
  );
}
