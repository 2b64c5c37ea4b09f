/**
 * What customers, their banks and Stripe itself do: the acts that no API call makes. Verbs of control, so each ends when
 * the events it caused have been delivered, where the mode delivers by itself. Objects come back as copies.
 */
import type Stripe from 'stripe';
import { declined } from './cards.ts';
import { expireSession } from './checkout.ts';
import {
  type CompleteOptions,
  completeSession,
  type LinkOptions,
  openPaymentLink,
  settleSession,
} from './checkout-complete.ts';
import type { Session } from './checkout-session.ts';
import type { Sim } from './core.ts';
import { customerOf, deleteCustomer } from './customers.ts';
import type { Deliverer } from './delivery.ts';
import { closeDispute, createDispute, type DisputeOptions, reinstate, withdraw } from './disputes.ts';
import { authenticateIntent, settleIntent } from './payment-intents.ts';
import { attach, createMethod, detach } from './payment-methods.ts';
import { createRefund, type RefundRequest, settleRefund } from './refunds.ts';

export interface Stage {
  sim: Sim;
  delivery: Deliverer;
  /** The mode of what is done outside of API calls. */
  livemode: boolean;
}

export class Acts {
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** The customer completes a checkout session; it stays open when the payment is declined. */
  completeSession(id: string, options: CompleteOptions = {}): Promise<Session> {
    return this.act((sim) => completeSession(sim, sim.get<Session>('checkout.session', id), options));
  }

  /** The payment of a completed session that takes days comes to its end. */
  settleAsync(id: string, outcome: 'succeeded' | 'failed'): Promise<Session> {
    return this.act((sim) => settleSession(sim, sim.get<Session>('checkout.session', id), outcome));
  }

  expireSession(id: string): Promise<Session> {
    return this.act((sim) => expireSession(sim, sim.get<Session>('checkout.session', id)));
  }

  /** Somebody opens a payment link that Tollgate did not make; complete the session it gives. */
  paymentLink(bought: Array<{ price: string; quantity?: number }>, options: LinkOptions = {}): Promise<Session> {
    return this.act((sim) => openPaymentLink(sim, bought, options));
  }

  /** A payment intent in `processing` comes to its end. */
  settleIntent(id: string, outcome: 'succeeded' | 'failed'): Promise<Stripe.PaymentIntent> {
    return this.act((sim) => settleIntent(sim, sim.get<Stripe.PaymentIntent>('payment_intent', id), outcome));
  }

  /** The customer answers the bank's question about a payment intent in `requires_action`, or fails to. */
  authenticate(id: string, passes = true): Promise<Stripe.PaymentIntent> {
    return this.act((sim) => authenticateIntent(sim, sim.get<Stripe.PaymentIntent>('payment_intent', id), passes));
  }

  /** The owner refunds in the dashboard. */
  refund(request: RefundRequest): Promise<Stripe.Refund> {
    return this.act((sim) => createRefund(sim, request));
  }

  /** A pending refund comes to its end; one that succeeded can still fail. */
  settleRefund(id: string, status: 'succeeded' | 'failed' | 'canceled', reason?: string): Promise<Stripe.Refund> {
    return this.act((sim) => settleRefund(sim, sim.get<Stripe.Refund>('refund', id), status, reason));
  }

  failRefund(id: string, reason?: string): Promise<Stripe.Refund> {
    return this.settleRefund(id, 'failed', reason);
  }

  /** A charge is disputed. A chargeback takes the money at once unless `withdraw` is false. */
  dispute(
    charge: string,
    kind: 'chargeback' | 'inquiry' | 'prevented' = 'chargeback',
    options: DisputeOptions = {},
  ): Promise<Stripe.Dispute> {
    return this.act((sim) => createDispute(sim, sim.get<Stripe.Charge>('charge', charge), kind, options));
  }

  withdrawDispute(id: string): Promise<Stripe.Dispute> {
    return this.act((sim) => withdraw(sim, sim.get<Stripe.Dispute>('dispute', id)));
  }

  reinstateDispute(id: string): Promise<Stripe.Dispute> {
    return this.act((sim) => reinstate(sim, sim.get<Stripe.Dispute>('dispute', id)));
  }

  /** Ends a dispute. `won` gives the money back first, unless `moneyBack` is false. */
  closeDispute(
    id: string,
    status: 'won' | 'lost' | 'warning_closed' | 'prevented',
    moneyBack = true,
  ): Promise<Stripe.Dispute> {
    return this.act((sim) => closeDispute(sim, sim.get<Stripe.Dispute>('dispute', id), status, moneyBack));
  }

  /** From now on every charge of the customer is declined, until a card is attached. */
  async declineCard(customer: string, code = 'generic_decline'): Promise<void> {
    declined(code);
    this.#stage.sim.side<string>('declining').set(customer, code);
  }

  /** The customer saves a card and makes it the default; what was declined is accepted again. */
  attachCard(
    customer: string,
    method = 'card',
    options: { fingerprint?: string; keepDefault?: boolean } = {},
  ): Promise<Stripe.PaymentMethod> {
    return this.act((sim) => {
      sim.side<string>('declining').delete(customer);
      const { id } = customerOf(sim, customer);
      return attach(sim, createMethod(sim, method, options.fingerprint), id, options.keepDefault !== true);
    });
  }

  /** The customer removes a card. */
  detachCard(method: string): Promise<Stripe.PaymentMethod> {
    return this.act((sim) => detach(sim, sim.get<Stripe.PaymentMethod>('payment_method', method)));
  }

  /** The owner deletes a customer in the dashboard. */
  deleteCustomer(customer: string): Promise<Stripe.DeletedCustomer> {
    return this.act((sim) => deleteCustomer(sim, customer));
  }

  /** Runs `act` outside of any API call, then delivers what it caused. */
  protected async act<R>(act: (sim: Sim) => R): Promise<R> {
    const { sim, delivery, livemode } = this.#stage;
    const result = sim.as({ livemode, request: { id: null, idempotency_key: null } }, () => act(sim));
    await delivery.flush();
    return structuredClone(result);
  }
}
