/** Accounts with a key and credits each, made in bulk; the credits by the ledger's own verb. */
import type { Pool } from 'pg';
import { mintKey } from '../../src/accounts/key-format.ts';
import { DEFAULT_SCOPES } from '../../src/accounts/keys.ts';
import { transaction } from '../../src/db/pool.ts';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { mintId, uuidv7 } from '../../src/lib/ids.ts';
import { NANO_PER_CREDIT } from '../../src/lib/money.ts';
import { silentLogger } from '../../src/observe/log.ts';

/** More than any run can spend. */
const CREDITS = 1_000_000n * NANO_PER_CREDIT;

/** Makes `count` accounts with so many nano-credits each; returns the text of their keys. */
export async function seedAccounts(
  pool: Pool,
  databaseUrl: string,
  count: number,
  credits: bigint = CREDITS,
): Promise<string[]> {
  const first = mintId(systemClock);
  const ids = Array.from({ length: count }, (_, i) => first + BigInt(i));
  const keys = ids.map((id) => mintKey(id));
  await transaction(pool, async (db) => {
    await db.query("INSERT INTO accounts (account_id, name) SELECT id, 'Bench' FROM unnest($1::bigint[]) id", [ids]);
    await db.query('INSERT INTO wallets (account_id) SELECT unnest($1::bigint[])', [ids]);
    await db.query(
      'INSERT INTO api_keys (key_id, account_id, scopes, secret_hash) SELECT id, id, $2, hash FROM unnest($1::bigint[], $3::bytea[]) k (id, hash)',
      [ids, DEFAULT_SCOPES, keys.map((key) => key.secretHash)],
    );
    await db.query('INSERT INTO spenders (account_id, key_id) SELECT id, id FROM unnest($1::bigint[]) id', [ids]);
  });
  await grantAll(databaseUrl, ids, credits);
  return keys.map((key) => key.text);
}

async function grantAll(databaseUrl: string, accounts: bigint[], amount: bigint): Promise<void> {
  const connection = new WriterConnection(databaseUrl, mintId(systemClock), silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const grants = accounts.map((account) =>
    writer.apply({
      verb: 'grant',
      account,
      id: uuidv7(systemClock),
      amount,
      kind: 'topup',
      reference: 'bench',
      priority: 0,
      startsAt: null,
      expiresAt: null,
      reason: null,
      paid: null,
      creditsPerUsd: 1000n,
    }),
  );
  const refused = (await Promise.all(grants)).find(({ outcome }) => outcome !== 'done');
  await connection.close();
  if (refused !== undefined) throw new Error(`a grant was refused: ${refused.outcome}`);
}
