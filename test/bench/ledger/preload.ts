/** A ledger with a past, made set-based: accounts with a grant each, and months of charges in their partitions. */
import type pg from 'pg';
import { applyOperations } from '../../../src/ledger/operations.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { mintId, uuidv7 } from '../../../src/lib/ids.ts';
import { CREDITS, CREDITS_PER_USD, REQUESTS } from './workload.ts';

/** The current one included. */
const MONTHS = 5;
/** Grants in one call, and charges in one statement. */
const GRANTS = 200;
const CHARGES = 250_000;
/** Every charge of the past is the same: what an entry costs does not depend on its amount. */
const { charge: PAST_CHARGE, receipt: PAST_RECEIPT } = REQUESTS[0]!;

/** Charges that a ledger was made with. */
export interface Past {
  charges: number;
  /** Nano-credits. */
  charged: bigint;
}

/** Ids for accounts, one after the other. */
export function accountIds(count: number): bigint[] {
  const first = mintId(systemClock);
  return Array.from({ length: count }, (_, i) => first + BigInt(i));
}

/** Opens the accounts in a migrated database, granted `CREDITS` each when the oldest month began. A key has its account's id. */
export async function openAccounts(client: pg.Client, accounts: readonly bigint[]): Promise<void> {
  await makePastPartitions(client);
  await client.query('INSERT INTO wallets (account_id) SELECT unnest($1::bigint[])', [accounts]);
  await client.query('INSERT INTO spenders (account_id, key_id) SELECT id, id FROM unnest($1::bigint[]) id', [
    accounts,
  ]);
  const { from } = (await months(client))[0]!;
  const then = { now: () => from.getTime() };
  for (let done = 0; done < accounts.length; done += GRANTS) {
    const grants = accounts.slice(done, done + GRANTS).map((account) => ({
      ...{ verb: 'grant' as const, account, id: uuidv7(then), amount: CREDITS, kind: 'topup' as const },
      ...{ reference: 'bench', priority: 0, startsAt: null, expiresAt: null, reason: null, paid: null },
      creditsPerUsd: CREDITS_PER_USD,
    }));
    const refused = (await applyOperations(client, grants, 1n, from)).find(({ outcome }) => outcome !== 'done');
    if (refused !== undefined) throw new Error(`a grant was refused: ${refused.outcome}`);
  }
}

/**
 * Books `each` charges on every account, as many in each month, the accounts in turn: in the heap and in the indexes they
 * lie as if they had come one by one. The ids of the accounts follow one another. `progress` hears how many are done.
 */
export async function bookPast(
  client: pg.Client,
  accounts: readonly bigint[],
  each: number,
  progress: (done: number) => void = () => {},
): Promise<Past> {
  const charges = accounts.length * each;
  const spans = await months(client);
  for (const [i, { from, to }] of spans.entries()) {
    const first = Math.floor((charges * i) / spans.length);
    const next = Math.floor((charges * (i + 1)) / spans.length);
    const stepMs = (to.getTime() - from.getTime()) / (next - first);
    for (let done = first; done < next; done += CHARGES) {
      const at = new Date(from.getTime() + (done - first) * stepMs);
      await client.query(BOOK, [
        ...[done, Math.min(done + CHARGES, next) - 1, accounts.length, accounts[0], at, stepMs],
        ...[PAST_CHARGE, CREDITS, PAST_RECEIPT],
      ]);
      progress(Math.min(done + CHARGES, next));
    }
  }
  await client.query(
    'UPDATE wallets SET posted = posted - $2, head_left = head_left - $2, seq = seq + $3 WHERE account_id = ANY ($1)',
    [accounts, BigInt(each) * PAST_CHARGE, each],
  );
  await client.query('VACUUM (FREEZE, ANALYZE)');
  return { charges, charged: BigInt(charges) * PAST_CHARGE };
}

/** From the n-th charge of all to the m-th; each account's entries are numbered from its grant, which is 1. */
const BOOK = `
  INSERT INTO entries (account_id, seq, amount, balance_after, key_id, at, id, lot_id, kind, debit, credit, receipt)
  SELECT w.account_id, 2 + n / $3::bigint, -$7::bigint, $8::bigint - $7::bigint * (1 + n / $3::bigint), w.account_id,
      t.at, uuid_at(t.at), w.head_lot, 2, 1, 2, $9::bytea
    FROM generate_series($1::bigint, $2::bigint) n
      JOIN wallets w ON w.account_id = $4::bigint + n % $3::bigint
      CROSS JOIN LATERAL (SELECT $5::timestamptz + (n - $1::bigint) * $6::float8 * interval '1 millisecond' AS at) t`;

/** The months of the past, oldest first; the last one ends now. */
export async function months(client: pg.Client): Promise<{ from: Date; to: Date }[]> {
  const { rows } = await client.query<{ from: Date; to: Date }>(
    `SELECT m AT TIME ZONE 'UTC' AS from, least((m + interval '1 month') AT TIME ZONE 'UTC', now()) AS to
       FROM generate_series(0, $1::int - 1) i,
         LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $1::int - 1 - i) AS m) t
       ORDER BY m`,
    [MONTHS],
  );
  return rows;
}

/** The partitions of months before the last one, as `make_partitions` would have made them in their time. */
async function makePastPartitions(client: pg.Client): Promise<void> {
  for (const { from, to } of (await months(client)).slice(0, -2)) {
    const table = `entries_${from.toISOString().slice(0, 7).replace('-', '_')}`;
    await client.query(`CREATE TABLE ${table} (LIKE entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`);
    await client.query(
      `DO $$ BEGIN EXECUTE format('ALTER TABLE entries ATTACH PARTITION ${table} FOR VALUES FROM (%L) TO (%L)',
         uuid_floor('${from.toISOString()}'), uuid_floor('${to.toISOString()}')); END $$`,
    );
  }
}
