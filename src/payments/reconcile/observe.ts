/** What stands here of an object of Stripe, as a sync finds it and would leave it. */
import type { PoolClient } from 'pg';
import { publicId } from '../../lib/ids.ts';
import type { Witness } from '../deps.ts';
import { type Difference, differencesOf, type Standing, type Stated } from './differences.ts';

/** A witness of one sync, which may bring several objects in line: `differences` are those that it saw. */
export function createWitness(): Witness & { differences: Difference[] } {
  let before: Standing | null = null;
  const differences: Difference[] = [];
  return {
    differences,
    before: async (db, id) => {
      before = await observe(db, id);
    },
    after: async (db, id) => {
      differences.push(...differencesOf(id, before!, await observe(db, id)));
    },
  };
}

/** Nothing is kept of objects that stand nowhere here. */
async function observe(db: PoolClient, id: string): Promise<Standing> {
  const payment = await db.query<NonNullable<Standing['payment']>>(
    `SELECT account_id AS account, paid_minor AS paid, currency, reversed_minor AS reversed, granted, clawed
     FROM payments WHERE payment_key = $1`,
    [id],
  );
  const lines = await db.query('SELECT FROM payment_grants WHERE payment_key = $1', [id]);
  // A person who grants it by hand says so in the reference.
  const orphan = await db.query<NonNullable<Standing['orphan']>>(
    `SELECT reason, coalesce(amount_minor || ' ' || currency || ' (minor units)', 'no money') AS amount
     FROM orphan_payments WHERE object_id = $1 AND resolved_at IS NULL
       AND NOT EXISTS (SELECT FROM lots WHERE payment_named(reference) = $1)`,
    [id],
  );
  return {
    payment: payment.rows[0] ?? null,
    lines: lines.rowCount ?? 0,
    orphan: orphan.rows[0] ?? null,
    intents: await intentsOf(db, id),
    statements: await statementsOf(db, id),
  };
}

/** Our checkouts and recharges that are not over, or are of this very object. */
async function intentsOf(db: PoolClient, id: string): Promise<Standing['intents']> {
  const { rows } = await db.query<{ kind: 'chk' | 'rch'; id: bigint; account: bigint; status: string }>(
    `SELECT 'chk' AS kind, checkout_id AS id, account_id AS account, status FROM checkouts
       WHERE session_id = $1 OR session_id = (SELECT session_id FROM payments WHERE payment_key = $1)
     UNION ALL SELECT 'rch', recharge_id, account_id, status FROM recharges WHERE payment_intent = $1`,
    [id],
  );
  return new Map(rows.map(({ kind, id, account, status }) => [publicId(kind, id), { account, status }]));
}

async function statementsOf(db: PoolClient, id: string): Promise<Stated[]> {
  const { rows } = await db.query<Stated>(
    `SELECT s.account_id AS account, e.reference, e.value #>> '{}' AS plan, nullif(e.valid_until, 'infinity') AS until
     FROM subscriptions s, LATERAL entitlements_at(s.account_id, clock_timestamp()) e
     WHERE s.subscription_id = $1 AND e.source = 'subscription' AND e.key = 'plan' AND starts_with(e.reference, $1 || ':')`,
    [id],
  );
  return rows;
}
