/** What an account asked of auto-recharge, and how it stands. */
import type { PoolClient } from 'pg';
import { type Db, transaction } from '../../db/pool.ts';

/** What is asked for. */
export interface RechargeSettings {
  enabled: boolean;
  /** Nano-credits. */
  threshold: bigint;
  pack: string | null;
  /** US cents, of a month (UTC). */
  monthlyCapMinor: bigint | null;
}

/** A purchase that has not ended. */
export interface InFlight {
  id: bigint;
  status: string;
  packs: number;
  /** Nano-credits, bonus included. */
  credits: bigint;
  /** US cents. */
  amountMinor: bigint;
  createdAt: Date;
}

/** The settings and how they stand; `settings` null: none were made. */
export interface RechargeView {
  settings: RechargeSettings | null;
  state: 'off' | 'ready' | 'needs_payment_method' | 'stopped';
  stoppedReason: string | null;
  stoppedAt: Date | null;
  /** US cents that were charged, or may have been, this month (UTC). */
  spentMinor: bigint;
  card: { brand: string; last4: string } | null;
  inFlight: InFlight | null;
}

interface Row {
  enabled: boolean | null;
  threshold: bigint;
  pack: string | null;
  monthly_cap_minor: bigint | null;
  spent: bigint;
  payable: boolean;
  brand: string | null;
  last4: string | null;
  stopped_at: Date | null;
  stopped_reason: string | null;
  flight: { id: string; status: string; packs: number; credits: string; amount: string; at: string } | null;
}

/** Reads an account's settings and their state. */
export async function readRecharge(db: Db, account: bigint): Promise<RechargeView> {
  const { rows } = await db.query<Row>(
    `SELECT a.enabled, a.threshold, a.pack, a.monthly_cap_minor, recharge_spent(c.account_id, clock_timestamp()) AS spent,
       a.payment_method IS NOT NULL AND a.customer IS NOT DISTINCT FROM c.stripe_customer_id AS payable, a.brand, a.last4,
       a.stopped_at, a.stopped_reason,
       (SELECT jsonb_build_object('id', r.recharge_id::text, 'status', r.status, 'packs', r.packs, 'amount', r.amount_minor::text,
           'credits', (r.credits + r.bonus_credits)::text, 'at', r.created_at)
         FROM recharges r WHERE r.account_id = c.account_id AND r.ended_at IS NULL) AS flight
     FROM accounts c LEFT JOIN auto_recharge a USING (account_id) WHERE c.account_id = $1`,
    [account],
  );
  const row = rows[0]!;
  // What has passed is no stop: a cap holds for its month, the attempts for their day.
  const stopped = row.enabled === true && row.stopped_at !== null && !isOver(row.stopped_reason!, row.stopped_at);
  return {
    settings: row.enabled === null ? null : settingsOf(row as Row & { enabled: boolean }),
    state: row.enabled !== true ? 'off' : stopped ? 'stopped' : row.payable ? 'ready' : 'needs_payment_method',
    stoppedReason: stopped ? row.stopped_reason : null,
    stoppedAt: stopped ? row.stopped_at : null,
    spentMinor: row.spent,
    card: row.payable && row.brand !== null && row.last4 !== null ? { brand: row.brand, last4: row.last4 } : null,
    inFlight: row.flight === null ? null : inFlightOf(row.flight),
  };
}

function settingsOf(row: Row & { enabled: boolean }): RechargeSettings {
  const { enabled, threshold, pack, monthly_cap_minor: monthlyCapMinor } = row;
  return { enabled, threshold, pack, monthlyCapMinor };
}

function inFlightOf({ id, status, packs, credits, amount, at }: NonNullable<Row['flight']>): InFlight {
  return {
    id: BigInt(id),
    status,
    packs,
    credits: BigInt(credits),
    amountMinor: BigInt(amount),
    createdAt: new Date(at),
  };
}

/** For the eye alone: whether something is bought is decided by the database. */
function isOver(reason: string, at: Date): boolean {
  const length = reason === 'monthly_cap' ? 7 : reason === 'daily_attempts' ? 10 : 0;
  return length > 0 && at.toISOString().slice(0, length) !== new Date().toISOString().slice(0, length);
}

/**
 * Keeps settings. Enabling is a person's act: it closes the breaker, and an account that is low already is looked at at once. Disabling
 * stops what was not sent yet; what was goes on to its end.
 */
export async function keepRecharge(db: Db, account: bigint, settings: RechargeSettings): Promise<void> {
  const { enabled, threshold, pack, monthlyCapMinor } = settings;
  await transaction(db, async (client: PoolClient) => {
    await client.query('UPDATE wallets SET low_below = $2 WHERE account_id = $1', [account, threshold]);
    await client.query(
      `INSERT INTO auto_recharge (account_id, enabled, threshold, pack, monthly_cap_minor) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (account_id) DO UPDATE SET enabled = excluded.enabled, threshold = excluded.threshold, pack = excluded.pack,
         monthly_cap_minor = excluded.monthly_cap_minor, changed_at = clock_timestamp()`,
      [account, enabled, threshold, pack, monthlyCapMinor],
    );
    if (!enabled) return;
    await client.query(
      `UPDATE auto_recharge SET failures = 0, retry_at = NULL, stopped_at = NULL, stopped_reason = NULL, stopped_fingerprint = NULL
       WHERE account_id = $1`,
      [account],
    );
    await client.query('INSERT INTO recharge_wanted (account_id) VALUES ($1) ON CONFLICT DO NOTHING', [account]);
  });
}

/** Whether what an account pays with at a checkout is to be kept for recharges: it has asked for them. */
export async function savesCards(db: Db, account: bigint): Promise<boolean> {
  const { rows } = await db.query('SELECT FROM auto_recharge WHERE account_id = $1 AND enabled', [account]);
  return rows.length > 0;
}
