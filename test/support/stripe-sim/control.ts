/**
 * What a test can do to the simulator besides calling its API: the clock, faults, delivery, snapshots, and the acts of
 * customers, banks and Stripe itself (`Acts`). Each verb is also `POST /_sim/<verb>` with its arguments as a JSON list.
 * A verb ends when the events it caused have been delivered, where the delivery mode sends events by itself.
 */
import { Acts, type Stage } from './acts.ts';
import type { Api, LogLine } from './api.ts';
import { breakFinalization, setSettings } from './billing/settings.ts';
import type { BillingSettings } from './billing/types.ts';
import { declined } from './cards.ts';
import type { Settlement } from './charges.ts';
import type { EventObject, Sim, State, Stored } from './core.ts';
import { type Attempt, CALM, type DeliveryMode, type Receiver } from './delivery.ts';
import { isOut } from './disputes.ts';
import type { Fault } from './faults.ts';
import { force } from './payment-methods.ts';
import { createEndpoint } from './webhook-endpoints.ts';

/** What was really charged, given back and withdrawn, in minor units: the truth that ledgers are compared with. */
export interface ChargedRow {
  customer: string | null;
  currency: string;
  charges: number;
  charged: number;
  /** Refunds that succeeded or are under way. */
  refunded: number;
  /** Disputed money that is out. */
  withdrawn: number;
}

export interface ListenOptions {
  /** `['*']` unless told. */
  events?: string[];
  api_version?: string | null;
  secret?: string;
}

export interface Parts extends Stage {
  api: Api;
  /** The secret that endpoints made by `listen` sign with. */
  secret: string;
}

export class Control extends Acts {
  readonly #parts: Parts;
  readonly #saved: State[] = [];

  constructor(parts: Parts) {
    super(parts);
    this.#parts = parts;
  }

  /** Virtual Unix seconds. */
  async now(): Promise<number> {
    return this.#parts.sim.now();
  }

  /** Moves the clock on; what falls due on the way happens (renewals, expiries), then retries of webhooks. */
  async advance(by: { seconds?: number; hours?: number; days?: number }): Promise<void> {
    const seconds = (by.seconds ?? 0) + (by.hours ?? 0) * 3600 + (by.days ?? 0) * 86_400;
    await this.act((sim) => sim.advance(seconds));
  }

  /** What the owner's dashboard says of failed renewals: when they are tried again, and what becomes of them then. */
  async billing(settings: Partial<BillingSettings>): Promise<void> {
    setSettings(this.#parts.sim, settings);
  }

  /** The owner's balance is in this currency from now on, at this rate from all others; null: in that of each charge. */
  async settlement(settlement: Settlement | null): Promise<void> {
    const kept = this.#parts.sim.side<Settlement>('settlement');
    if (settlement === null) kept.clear();
    else kept.set('now', settlement);
  }

  /** From now on (or no longer) the invoices of this customer cannot be finalized, as when its tax location is unknown. */
  async breakFinalization(customer: string, broken = true): Promise<void> {
    breakFinalization(this.#parts.sim, customer, broken);
  }

  /** Orders a fault for calls to come. */
  async fault(fault: Fault): Promise<void> {
    const { api, sim } = this.#parts;
    if (fault.kind === 'decline') force(sim, declined(fault.code ?? 'generic_decline'), fault.times ?? 1);
    else if (fault.kind === 'requires_action') force(sim, { kind: 'authenticate' }, fault.times ?? 1);
    else api.faults.add(fault);
  }

  /** Forgets all faults that were ordered and not used up. */
  async clearFaults(): Promise<void> {
    this.#parts.api.faults.clear();
    this.#parts.sim.side('forced').clear();
  }

  /** How events are delivered from now on; fields not given are calm. Leaving `manual` sends what was kept. */
  async delivery(mode: Partial<DeliveryMode>): Promise<void> {
    this.#parts.delivery.mode = { ...CALM, ...mode };
    await this.#parts.delivery.flush();
  }

  /** Registers a webhook endpoint: an URL, or a function in this process (body, signature) → status. */
  async listen(to: string | Receiver, options: ListenOptions = {}): Promise<{ id: string; secret: string }> {
    const { sim, delivery, secret, livemode } = this.#parts;
    const endpoint = createEndpoint(sim, {
      url: typeof to === 'string' ? to : delivery.receiver(to),
      enabled_events: options.events ?? ['*'],
      api_version: options.api_version ?? null,
      secret: options.secret ?? secret,
      livemode,
    });
    return { id: endpoint.id, secret: String(endpoint.secret) };
  }

  /** Gives an endpoint one secret more, as while rotating; with `only`, the old ones end. */
  async rotateSecret(endpoint: string, secret: string, only = false): Promise<void> {
    const all = this.#parts.sim.side<string[]>('webhook secrets');
    all.set(endpoint, only ? [secret] : [...(all.get(endpoint) ?? []), secret]);
  }

  /** Events, oldest first, of the type and about the object if told. */
  async events(which: { type?: string; about?: string } = {}): Promise<EventObject[]> {
    const all = this.#parts.sim.all<EventObject>('event').reverse();
    const fits = ({ type, data }: EventObject): boolean =>
      (which.type === undefined || which.type === type) &&
      (which.about === undefined || which.about === data.object.id);
    return structuredClone(all.filter(fits));
  }

  /** Sends these events now, in this order, as often as they are named. Works in every mode. */
  async deliver(ids: string | string[]): Promise<Attempt[]> {
    return this.#parts.delivery.deliver([ids].flat());
  }

  /** The events were "delivered" and went lost behind the endpoint: Stripe will not send them again. */
  async lose(ids: string | string[]): Promise<void> {
    this.#parts.delivery.lose([ids].flat());
  }

  /** Ends when everything that is due has been delivered and answered. */
  async settled(): Promise<void> {
    await this.#parts.delivery.flush();
  }

  /** Every attempt to deliver, oldest first. */
  async attempts(): Promise<Attempt[]> {
    return structuredClone(this.#parts.delivery.attempts);
  }

  /** Every API call, oldest first. */
  async log(): Promise<LogLine[]> {
    return structuredClone(this.#parts.api.log);
  }

  async clearLog(): Promise<void> {
    this.#parts.api.log.length = 0;
    this.#parts.delivery.attempts.length = 0;
  }

  /** Keeps the whole state; gives the number to restore it by, any number of times. Faults are not part of it. */
  async snapshot(): Promise<number> {
    return this.#saved.push(this.#parts.sim.snapshot()) - 1;
  }

  async restore(saved: number): Promise<void> {
    const state = this.#saved[saved];
    if (state === undefined) throw new Error(`there is no snapshot ${saved}`);
    await this.#parts.delivery.idle();
    this.#parts.sim.restore(state);
  }

  /** An object as it is now. */
  async object<T extends Stored>(kind: string, id: string): Promise<T> {
    return structuredClone(this.#parts.sim.get<T>(kind, id));
  }

  /** All objects of a kind, newest first. */
  async objects<T extends Stored>(kind: string): Promise<T[]> {
    return structuredClone(this.#parts.sim.all<T>(kind));
  }

  /** What was really charged, by customer and currency. */
  async charges(): Promise<ChargedRow[]> {
    return chargedRows(this.#parts.sim);
  }
}

interface Moved {
  id: string;
  object: string;
  amount: number;
  status: string;
}

function chargedRows(sim: Sim): ChargedRow[] {
  const rows = new Map<string, ChargedRow>();
  const refunds = sim.all<Moved & { charge: string }>('refund');
  const disputes = sim.all<Moved & { charge: string; balance_transactions: Array<{ amount: number }> }>('dispute');
  for (const charge of sim.all<Moved & { customer: string | null; currency: string }>('charge')) {
    if (charge.status !== 'succeeded') continue;
    const { customer, currency } = charge;
    const key = `${customer} ${currency}`;
    const row = rows.get(key) ?? { customer, currency, charges: 0, charged: 0, refunded: 0, withdrawn: 0 };
    rows.set(key, row);
    row.charges += 1;
    row.charged += charge.amount;
    for (const refund of refunds) {
      const counts = refund.charge === charge.id && !['failed', 'canceled'].includes(refund.status);
      if (counts) row.refunded += refund.amount;
    }
    for (const dispute of disputes) {
      if (dispute.charge === charge.id && isOut(dispute)) row.withdrawn += dispute.amount;
    }
  }
  return [...rows.values()];
}
