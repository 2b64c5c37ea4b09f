/** Compares what the ledger has of an account with the model, and with another account that must have come to the same. */
import type { Pool } from 'pg';
import { expect } from 'vitest';
import { readBalance } from '../../src/ledger/read.ts';
import { rebuildLedger } from '../../src/ledger/rebuild.ts';
import { readBudgets } from '../../src/ledger/wallets.ts';
import type { ModelAccount } from './model.ts';
import { ACCOUNT_ITSELF } from './model-budgets.ts';
import { type LedgerRig, second } from './rig.ts';

/** Everything the ledger knows of an account, but for what is random or its own: the ids of expiries, its gateways. */
export async function rowsOf(ledger: LedgerRig, account: bigint): Promise<unknown> {
  const rows = (table: string, order: string, drop = ''): string =>
    `(SELECT jsonb_agg(to_jsonb(t) - 'account_id' ${drop} ORDER BY ${order}) FROM ${table} t
      WHERE t.account_id = w.account_id) AS ${table}`;
  const result = await ledger.client.query(
    `SELECT to_jsonb(w) - 'account_id' AS wallet, ${rows('lots', 'lot_id')}, ${rows('holds', 'id', "- 'owner'")},
       ${rows('entries', 'seq', "- CASE WHEN kind = 6 THEN 'id' ELSE '' END")}, ${rows('adjustments', 'reference')},
       ${rows('named_operations', 'kind, name')},
       ${rows('allocations', 'id, kind, lot_id')}, ${rows('spenders', 'key_id')}
     FROM wallets w WHERE account_id = $1`,
    [account],
  );
  return result.rows[0];
}

export async function expectSameRows(ledger: LedgerRig, one: bigint, other: bigint): Promise<void> {
  expect(await rowsOf(ledger, one)).toEqual(await rowsOf(ledger, other));
}

/** Entries, lots, and what lots gave to debt. */
export async function expectAsModelled(ledger: LedgerRig, account: bigint, model: ModelAccount): Promise<void> {
  expect(await ledger.entries(account)).toEqual(model.lots.entries);
  const wallet = await ledger.wallet(account);
  expect([wallet.held, wallet.debt]).toEqual([model.held, model.lots.debt]);

  const lots = await ledger.client.query<{ line: unknown[] }>(
    `SELECT reference, CASE WHEN lot_id = head_lot THEN head_left ELSE remaining END AS remaining, repaid, expired,
       paid_minor AS paid FROM lots JOIN wallets USING (account_id) WHERE account_id = $1 ORDER BY reference`,
    [account],
  );
  expect(lots.rows).toEqual(
    model.lots.all
      .map(({ reference, remaining, repaid, expired, paid }) => {
        return { reference, remaining, repaid, expired, paid: paid?.minor ?? null };
      })
      .sort((a, b) => (a.reference < b.reference ? -1 : 1)),
  );

  const gifts = await ledger.client.query<{ gift: string; amount: string }>(
    `SELECT allocations.kind || ' ' || reference AS gift, sum(amount) AS amount FROM allocations JOIN lots USING (account_id, lot_id)
      WHERE account_id = $1 AND allocations.kind > 100 GROUP BY allocations.kind, reference`,
    [account],
  );
  const sums = new Map<string, bigint>();
  const kinds = { start: 101, late: 105, adjust: 107, reverse: 108 };
  for (const [kind, lot, amount] of model.lots.gifts) {
    const gift = `${kinds[kind]} ${lot}`;
    sums.set(gift, (sums.get(gift) ?? 0n) + amount);
  }
  expect(new Map(gifts.rows.map((row) => [row.gift, BigInt(row.amount)]))).toEqual(sums);
}

/** What readers find at `now`, in milliseconds, by the clock of the pool; `then` is the model as it is by then. */
export async function expectBalance(pool: Pool, account: bigint, then: ModelAccount, now: number): Promise<void> {
  const [posted, held] = [then.lots.posted(now), then.held];
  const left = then.lots.all.filter((lot) => lot.remaining > 0n && lot.expiresAt > now);
  const expected = { posted, held, available: posted - held, debt: then.lots.debt, overdraft: then.overdraft };
  const balance = (await readBalance(pool, account))!;
  expect(balance).toMatchObject(expected);
  expect(Object.fromEntries(balance.lots.map((lot) => [lot.reference, lot.remaining]))).toEqual(
    Object.fromEntries(left.map((lot) => [lot.reference, lot.remaining])),
  );
  const budgets = [...then.budgets.byKey].sort(([a], [b]) => (a < b ? -1 : 1));
  if (budgets.length === 0) return;
  expect((await readBudgets(pool, account)).map(({ resetsAt: _, ...budget }) => budget)).toEqual(
    budgets.map(([key, { periodStart, ...budget }]) => ({
      ...budget,
      key: key === ACCOUNT_ITSELF ? null : key,
      periodStart: Number.isFinite(periodStart) ? new Date(periodStart) : null,
    })),
  );
}

/** Brings accounts to `now` as their next operations would; what the head lot has left is then written down with the lot. */
export async function refresh(ledger: LedgerRig, accounts: readonly bigint[], now: number): Promise<void> {
  await ledger.client.query('SELECT ledger_store(ledger_refresh(w, $2)) FROM wallets w WHERE account_id = ANY ($1)', [
    accounts,
    second(now),
  ]);
}

/** Forgets all that follows from entries, allocations, terms and open holds, and has it rebuilt as of `now`: it is as it was. */
export async function expectRebuildsEqual(ledger: LedgerRig, account: bigint, now: number): Promise<void> {
  const before = await rowsOf(ledger, account);
  await ledger.client.query(
    `UPDATE wallets SET posted = 0, held = 0, debt = 0, dormant = 0, seq = 0, head_lot = NULL, head_left = 0,
       next_change_at = 'infinity' WHERE account_id = $1`,
    [account],
  );
  await ledger.client.query('UPDATE lots SET state = 0, remaining = 0, repaid = 0, expired = 0 WHERE account_id = $1', [
    account,
  ]);
  await ledger.client.query('UPDATE spenders SET held = 0 WHERE account_id = $1', [account]);
  expect((await rebuildLedger(ledger.pool, { account, at: second(now) })).broken).toEqual([]);
  expect(await rowsOf(ledger, account), 'rebuilt').toEqual(before);
}
