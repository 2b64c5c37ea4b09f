/**
 * Events on their way to webhook endpoints.
 *
 *     made ─▶ waiting ─2xx─▶ delivered
 *              │  ▲
 *        not 2xx  └─ again once an advance has passed its next attempt (after 1, 2, 4, 8, 16, 24 hours: at most 7 attempts)
 *              ▼
 *            failed: after the last attempt. Shown by `GET /v1/events?delivery_success=false`, as are waiting ones.
 *
 * When attempts are made is the mode's: `auto` after the API answer, `early` before it, `manual` when the test says so.
 */
import { createHmac } from 'node:crypto';
import type Stripe from 'stripe';
import type { EventObject, Sim } from './core.ts';

export interface DeliveryMode {
  when: 'auto' | 'early' | 'manual';
  /** Chances, 0 to 1: sent twice; sent out of its order; its first attempt lost; kept until the clock moves. */
  duplicate: number;
  reorder: number;
  drop: number;
  delay: number;
  /** How long a delayed event is kept at most, in seconds of the virtual clock. */
  delay_seconds: number;
}

export const CALM: DeliveryMode = { when: 'auto', duplicate: 0, reorder: 0, drop: 0, delay: 0, delay_seconds: 3600 };

/** Hours until the next attempt; then it has failed. */
const RETRY_HOURS = [1, 2, 4, 8, 16, 24];
/** An endpoint that does not answer within this counts as failed. */
const ANSWER_TIMEOUT_MS = 10_000;

interface Delivery {
  event: string;
  endpoint: string;
  attempts: number;
  /** Virtual seconds; nothing is tried before. */
  due: number;
  state: 'waiting' | 'delivered' | 'failed';
}

export interface Attempt {
  event: string;
  type: string;
  endpoint: string;
  /** The endpoint's answer; 0 when there was none. */
  status: number;
}

/** An endpoint in the test's own process: gets what HTTP would carry, gives the status. */
export type Receiver = (body: string, signature: string) => number | Promise<number>;

/** The signature header of a body, by the scheme of Stripe. One `v1` for each secret. */
export function sign(body: string, secrets: string[], at: number = Math.floor(Date.now() / 1000)): string {
  const proofs = secrets.map((secret) => `v1=${createHmac('sha256', secret).update(`${at}.${body}`).digest('hex')}`);
  return [`t=${at}`, ...proofs].join(',');
}

/** Whether `patterns` (exact types, or `*`) want this type. */
export function wants(patterns: string[], type: string): boolean {
  return patterns.some((pattern) => pattern === '*' || pattern === type);
}

export class Deliverer {
  readonly #sim: Sim;
  readonly #receivers = new Map<string, Receiver>();
  readonly attempts: Attempt[] = [];
  readonly #rounds = new Set<Promise<void>>();
  /** Deliveries that a round has taken and not yet tried. */
  readonly #taken = new Set<Delivery>();
  #tail: Promise<void> = Promise.resolve();

  constructor(sim: Sim) {
    this.#sim = sim;
    sim.onEvent((event) => this.#enqueue(event));
  }

  get mode(): DeliveryMode {
    return this.#sim.side<DeliveryMode>('delivery mode').get('now') ?? CALM;
  }

  set mode(mode: DeliveryMode) {
    this.#sim.side<DeliveryMode>('delivery mode').set('now', mode);
  }

  /** The address of an endpoint in this process. */
  receiver(handler: Receiver): string {
    const url = `inprocess://${this.#receivers.size + 1}`;
    this.#receivers.set(url, handler);
    return url;
  }

  /** Attempts all that is due, after what is already under way. Ends when the endpoints have answered. */
  flush(): Promise<void> {
    if (this.mode.when === 'manual') return this.idle();
    this.#tail = this.idle().then(() => this.#round());
    return this.#tail;
  }

  /**
   * Attempts all that is due and not under way, at once. For a call in mode `early`, which waits for the events it made
   * and must not wait for others: an endpoint may call the API before it answers.
   */
  async push(): Promise<void> {
    const round = this.#round();
    this.#rounds.add(round);
    await round;
    this.#rounds.delete(round);
  }

  /** Sends these events now, in this order, to each endpoint that wants them, delivered before or not. */
  async deliver(ids: string[]): Promise<Attempt[]> {
    const made: Attempt[] = [];
    for (const id of ids) {
      const event = this.#sim.get<EventObject>('event', id);
      for (const endpoint of this.#endpointsFor(event))
        made.push(await this.#attempt(this.#deliveryOf(event, endpoint)));
    }
    return made;
  }

  /** Marks events as delivered without sending them. */
  lose(ids: string[]): void {
    for (const id of ids) {
      for (const delivery of this.#deliveries(id)) this.#answered(delivery, 200);
    }
  }

  /** Ends when what is under way has been answered. */
  async idle(): Promise<void> {
    await Promise.all([this.#tail, ...this.#rounds]);
  }

  /** True when every endpoint has it, false while any waits or has failed. */
  succeeded(event: EventObject): boolean {
    return this.#deliveries(event.id).every(({ state }) => state === 'delivered');
  }

  #enqueue(event: EventObject): void {
    const now = this.#sim.now();
    const { delay, delay_seconds } = this.mode;
    const endpoints = this.#endpointsFor(event);
    event.pending_webhooks = endpoints.length;
    for (const endpoint of endpoints) {
      const late = delay > 0 && this.#sim.random() < delay ? 1 + Math.floor(this.#sim.random() * delay_seconds) : 0;
      this.#deliveryOf(event, endpoint).due = now + late;
    }
  }

  #endpointsFor(event: EventObject): Stripe.WebhookEndpoint[] {
    return this.#sim
      .all<Stripe.WebhookEndpoint>('webhook_endpoint')
      .filter(
        (one) => one.status === 'enabled' && one.livemode === event.livemode && wants(one.enabled_events, event.type),
      );
  }

  #deliveryOf(event: EventObject, endpoint: Stripe.WebhookEndpoint): Delivery {
    const all = this.#sim.side<Delivery>('deliveries');
    const key = `${event.id} ${endpoint.id}`;
    const known = all.get(key);
    if (known !== undefined) return known;
    const made: Delivery = {
      event: event.id,
      endpoint: endpoint.id,
      attempts: 0,
      due: this.#sim.now(),
      state: 'waiting',
    };
    all.set(key, made);
    this.#sim.side<Delivery>('waiting').set(key, made);
    return made;
  }

  #deliveries(event: string): Delivery[] {
    return this.#sim
      .all<Stripe.WebhookEndpoint>('webhook_endpoint')
      .map(({ id }) => this.#sim.side<Delivery>('deliveries').get(`${event} ${id}`))
      .filter((one) => one !== undefined);
  }

  #waiting(): Delivery[] {
    return [...this.#sim.side<Delivery>('waiting').values()];
  }

  async #round(): Promise<void> {
    const now = this.#sim.now();
    const { duplicate, reorder, drop } = this.mode;
    const due = this.#waiting().filter((one) => one.due <= now && !this.#taken.has(one));
    for (const one of due) this.#taken.add(one);
    const queue = due.flatMap((one) => (this.#sim.random() < duplicate ? [one, one] : [one]));
    for (let index = queue.length - 1; index > 0; index -= 1) {
      if (this.#sim.random() >= reorder) continue;
      const other = Math.floor(this.#sim.random() * (index + 1));
      [queue[index], queue[other]] = [queue[other] as Delivery, queue[index] as Delivery];
    }
    for (const delivery of queue) {
      if (drop > 0 && this.#sim.random() < drop) this.#answered(delivery, 0);
      else await this.#attempt(delivery);
    }
    for (const one of due) this.#taken.delete(one);
  }

  async #attempt(delivery: Delivery): Promise<Attempt> {
    const event = this.#sim.get<EventObject>('event', delivery.event);
    const endpoint = this.#sim.find<Stripe.WebhookEndpoint>('webhook_endpoint', delivery.endpoint);
    const status = endpoint === undefined ? 0 : await this.#send(event, endpoint);
    this.#answered(delivery, status);
    const attempt = { event: event.id, type: event.type, endpoint: delivery.endpoint, status };
    this.attempts.push(attempt);
    return attempt;
  }

  async #send(event: EventObject, endpoint: Stripe.WebhookEndpoint): Promise<number> {
    const body = JSON.stringify({ ...event, api_version: endpoint.api_version ?? event.api_version }, null, 2);
    const signature = sign(body, this.#sim.side<string[]>('webhook secrets').get(endpoint.id) ?? []);
    const receiver = this.#receivers.get(endpoint.url);
    try {
      if (receiver !== undefined) return await receiver(body, signature);
      const answer = await fetch(endpoint.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json; charset=utf-8', 'stripe-signature': signature },
        body,
        redirect: 'manual',
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      await answer.arrayBuffer();
      return answer.status;
    } catch {
      return 0;
    }
  }

  #answered(delivery: Delivery, status: number): void {
    const key = `${delivery.event} ${delivery.endpoint}`;
    if (status >= 200 && status < 300) {
      const event = this.#sim.find<EventObject>('event', delivery.event);
      if (event !== undefined && delivery.state !== 'delivered') event.pending_webhooks -= 1;
      delivery.state = 'delivered';
      this.#sim.side<Delivery>('waiting').delete(key);
      return;
    }
    if (delivery.state !== 'waiting') return;
    const hours = RETRY_HOURS[delivery.attempts];
    delivery.attempts += 1;
    if (hours === undefined) delivery.state = 'failed';
    else delivery.due = this.#sim.now() + hours * 3600;
    if (hours === undefined) this.#sim.side<Delivery>('waiting').delete(key);
  }
}
