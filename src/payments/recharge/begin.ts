/**
 * Who buys now. `recharge_begin` (0023-recharge.sql) decides, under the wallet's lock; here it is told what the pack costs, and of whom.
 * Two ways lead to it: `recharge_wanted`, written by the charge that made an account low, and a sweep that needs no such hint.
 */
import type { Pack } from '../../catalog/types.ts';
import { mintId } from '../../lib/ids.ts';
import type { PaymentDeps } from '../deps.ts';
import { syncMethods } from './methods.ts';
import { usdOf } from './price.ts';

/** What the decision was; `begun`, or why not. */
export type Begun = string;

/** Of accounts whose card is not known, Stripe is asked again after this long, should its events have been lost. */
const ASK_AGAIN = '1 hour';
/** Whether the card of an account's customer is to be read. */
const UNREAD = `(c.stripe_customer_id IS NOT NULL AND (a.customer IS DISTINCT FROM c.stripe_customer_id OR (a.payment_method IS NULL
  AND (a.method_read_at IS NULL OR a.method_read_at < clock_timestamp() - interval '${ASK_AGAIN}'))))`;
const WANTED_AT_ONCE = 20;
const SWEPT_AT_ONCE = 200;

interface Settings {
  pack: string;
  /** The customer whose card is to be read; `null`: it is known, or there is none. */
  unread: string | null;
}

/** Looks at the accounts that a charge has made low. True: there were some, and there may be more. */
export async function beginWanted(deps: PaymentDeps, signal: AbortSignal): Promise<boolean> {
  const { rows } = await deps.pool.query<{ account_id: bigint }>(
    `SELECT account_id FROM recharge_wanted LIMIT ${WANTED_AT_ONCE}`,
  );
  if (rows.length === 0 || signal.aborted) return false;
  await deps.catalogs.refresh();
  for (const { account_id: account } of rows) {
    if (signal.aborted) return false;
    await beginOrLater(deps, account);
  }
  return true;
}

/** Looks at all accounts that are low and could buy. Needs no hint, so that nothing that was lost leaves an account low for long. */
export async function sweepLow(deps: PaymentDeps, signal: AbortSignal): Promise<boolean> {
  let after = 0n;
  let refreshed = false;
  for (;;) {
    const accounts = await readLow(deps, after);
    if (accounts.length > 0 && !refreshed) {
      await deps.catalogs.refresh();
      refreshed = true;
    }
    for (const account of accounts) {
      if (signal.aborted) return false;
      await beginOrLater(deps, account);
      after = account;
    }
    if (accounts.length < SWEPT_AT_ONCE) return false;
  }
}

async function readLow({ pool }: PaymentDeps, after: bigint): Promise<bigint[]> {
  const { rows } = await pool.query<{ account_id: bigint }>(
    `SELECT a.account_id FROM auto_recharge a JOIN wallets w USING (account_id) JOIN accounts c USING (account_id)
     WHERE a.enabled AND a.account_id > $1 AND w.posted < a.threshold AND w.status = 0
       AND (a.stopped_at IS NULL OR recharge_stop_passes(a.stopped_reason))
       AND (a.retry_at IS NULL OR a.retry_at <= clock_timestamp())
       AND (${UNREAD} OR (a.payment_method IS NOT NULL AND a.customer = c.stripe_customer_id))
       AND NOT EXISTS (SELECT FROM recharges r WHERE r.account_id = a.account_id AND r.ended_at IS NULL)
     ORDER BY a.account_id LIMIT ${SWEPT_AT_ONCE}`,
    [after],
  );
  return rows.map(({ account_id: account }) => account);
}

/** What fails of one account fails of no other: the next sweep looks at it again. */
async function beginOrLater(deps: PaymentDeps, account: bigint): Promise<void> {
  try {
    const outcome = await beginRecharge(deps, account);
    if (outcome !== 'enough' && outcome !== 'off')
      deps.log.info({ account: String(account), outcome }, 'recharge looked at');
  } catch (error) {
    deps.log.warn({ account: String(account), cause: (error as Error).message }, 'a recharge could not be begun');
    await deps.pool.query('DELETE FROM recharge_wanted WHERE account_id = $1', [account]);
  }
}

/** Decides whether an account buys now, and writes the purchase. Throws when Stripe or the database does not answer. */
export async function beginRecharge(deps: PaymentDeps, account: bigint): Promise<Begun> {
  const outcome = await decide(deps, account);
  // It chose another pack while this one's price was asked for, or has become low only now.
  return outcome === 'pack_changed' ? decide(deps, account) : outcome;
}

async function decide(deps: PaymentDeps, account: bigint): Promise<Begun> {
  const settings = await readSettings(deps, account);
  if (settings !== null && settings.unread !== null) {
    await syncMethods(deps, { kind: 'customer', id: settings.unread }, null);
  }
  const pack = settings === null ? undefined : deps.catalogs.current.packs.get(settings.pack);
  const { rows } = await deps.pool.query<{ outcome: string }>('SELECT recharge_begin($1, $2, $3) AS outcome', [
    account,
    mintId(deps.clock),
    JSON.stringify({ pack: settings?.pack ?? '', ...(pack && (await sold(deps, pack))) }),
  ]);
  return rows[0]!.outcome;
}

async function readSettings({ pool }: PaymentDeps, account: bigint): Promise<Settings | null> {
  const { rows } = await pool.query<Settings>(
    `SELECT a.pack, CASE WHEN ${UNREAD} THEN c.stripe_customer_id END AS unread
     FROM auto_recharge a JOIN accounts c USING (account_id) JOIN wallets w USING (account_id)
     WHERE a.account_id = $1 AND a.enabled AND w.posted < a.threshold`,
    [account],
  );
  return rows[0] ?? null;
}

/** The pack as `recharge_begin` reads it. */
async function sold(deps: PaymentDeps, pack: Pack): Promise<Record<string, unknown>> {
  const amount = pack.isPublic ? await usdOf(deps, pack) : null;
  return {
    version: pack.version,
    credits: pack.credits.toString(),
    bonus: pack.bonusCredits.toString(),
    expires_days: pack.expiresDays,
    amount: amount?.toString() ?? null,
  };
}
