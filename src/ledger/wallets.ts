/**
 * Wallets and spenders: what the ledger must know of accounts and keys to judge a hold. Every function here takes the
 * transaction of its caller, so that an account or a key and its place in the ledger appear and change together.
 * A change of status, key or entitlements raises the wallet's policy version: gateways that cached the old one are told
 * `stale_policy` by their next hold.
 */
import type { ClientBase } from 'pg';

/** Opens an empty wallet for a new account. `overdraft` in nano-credits. */
export async function openWallet(db: ClientBase, account: bigint, overdraft: bigint): Promise<void> {
  await db.query('INSERT INTO wallets (account_id, overdraft) VALUES ($1, $2)', [account, overdraft]);
}

/** Lets a key spend from its account's wallet until `expiresAt`. */
export async function addSpender(db: ClientBase, account: bigint, key: bigint, expiresAt: Date | null): Promise<void> {
  await db.query(
    "INSERT INTO spenders (account_id, key_id, expires_at) VALUES ($1, $2, coalesce($3::timestamptz, 'infinity'))",
    [account, key, expiresAt],
  );
}

/** Stops a key from spending; effective at the next hold on every gateway. Returns whether the key was active. */
export async function revokeSpender(db: ClientBase, account: bigint, key: bigint): Promise<boolean> {
  await raisePolicyVersion(db, account);
  const { rowCount } = await db.query(
    'UPDATE spenders SET state = 1 WHERE account_id = $1 AND key_id = $2 AND state = 0',
    [account, key],
  );
  return rowCount === 1;
}

/** Suspends or reactivates an account. */
export async function setWalletStatus(db: ClientBase, account: bigint, status: 'active' | 'suspended'): Promise<void> {
  await raisePolicyVersion(db, account);
  await db.query('UPDATE wallets SET status = $2 WHERE account_id = $1', [account, status === 'active' ? 0 : 1]);
}

/** Sets how far holds may exceed what is available, in nano-credits. */
export async function setOverdraft(db: ClientBase, account: bigint, overdraft: bigint): Promise<void> {
  await db.query('UPDATE wallets SET overdraft = $2 WHERE account_id = $1', [account, overdraft]);
}

/** Says that what an account may do has changed: cached principals of it are stale from now on. */
export async function raisePolicyVersion(db: ClientBase, account: bigint): Promise<void> {
  await db.query('UPDATE wallets SET policy_version = policy_version + 1 WHERE account_id = $1', [account]);
}

/**
 * Refuses to run with another value of a credit than the one the first grant was made at: every balance would change
 * its worth. Throws with what to do.
 */
export async function assertCreditScale(db: Pick<ClientBase, 'query'>, creditsPerUsd: bigint): Promise<void> {
  const { rows } = await db.query<{ credits_per_usd: bigint }>('SELECT credits_per_usd FROM credit_scale');
  if (rows[0] !== undefined && rows[0].credits_per_usd !== creditsPerUsd) {
    throw new Error(
      `credits.per_usd is ${creditsPerUsd}, but credits were granted at ${rows[0].credits_per_usd}, which cannot change: ` +
        `set credits.per_usd to ${rows[0].credits_per_usd}, or start with an empty database.`,
    );
  }
}
