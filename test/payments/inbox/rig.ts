/** A database, an inbox over it, and events as Stripe would send them; nothing of Stripe itself. */
import Stripe from 'stripe';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { PaymentDeps } from '../../../src/payments/deps.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

export const SECRET = 'whsec_0123456789abcdef';
export const OTHER_SECRET = 'whsec_fedcba9876543210';

let made = 0;

export interface Sent {
  id: string;
  type: string;
  livemode: boolean;
  created: number;
  api_version: string | null;
  data: { object: Record<string, unknown> };
  [field: string]: unknown;
}

/** An event of an object; each has an id of its own. */
export function event(type = 'payment_intent.succeeded', object: Record<string, unknown> = {}): Sent {
  made++;
  return {
    id: `evt_${made}`,
    object: 'event',
    api_version: Stripe.API_VERSION,
    created: 1_790_000_000 + made,
    data: { object: { id: `pi_${made}`, object: 'payment_intent', ...object } },
    livemode: false,
    pending_webhooks: 1,
    request: null,
    type,
  };
}

/** The header that Stripe would send with a body. */
export function signed(body: string, secret = SECRET, atSeconds = Math.floor(Date.now() / 1000)): string {
  return Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: atSeconds });
}

export interface Rig {
  database: TestDatabase;
  /** Whose Stripe and catalog nobody may ask. */
  deps: PaymentDeps;
}

export async function createRig(): Promise<Rig> {
  const database = await createTestDatabase();
  const deps = { pool: database.pool, clock: systemClock, log: silentLogger } as PaymentDeps;
  return { database, deps };
}

export interface Row {
  event_id: string;
  type: string;
  object_kind: string;
  object_id: string | null;
  state: string;
  attempts: number;
  source: string;
  error: string | null;
  api_version: string | null;
  ended_at: Date | null;
  body: Buffer | null;
}

export async function rows({ database }: Pick<Rig, 'database'>): Promise<Row[]> {
  return (await database.pool.query<Row>('SELECT * FROM stripe_events ORDER BY received_at, event_id')).rows;
}
