/** A busy life of an account, with something of everything; and how a superuser changes it behind the ledger's back. */
import { expect } from 'vitest';
import type { Operation } from '../../src/ledger/operations.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { adjust, extend, grant, hold, KEY, type LedgerRig, newId, release, reverse, second, settle } from './rig.ts';

/** Numbers that look random and are the same for the same seed. */
export function dice(seed: number): (sides: number) => number {
  let state = seed >>> 0;
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** Batches of random operations on one account, a second after one another; about half of them do something. */
export async function liveBusily(ledger: LedgerRig, account: bigint, seed: number, batches = 40): Promise<void> {
  const roll = dice(seed);
  const ids: Uuid[] = [newId()];
  const some = (): Uuid => ids[roll(ids.length)]!;
  await ledger.client.query('SELECT ledger_set_budget($1, $2, 500, 3::smallint)', [account, KEY]);
  const operation = (at: number): Operation => {
    const amount = BigInt(1 + roll(12));
    switch (roll(10)) {
      case 0:
        return grant(account, amount * 3n, {
          priority: roll(3),
          startsAt: roll(3) === 0 ? second(at + roll(5)) : null,
          expiresAt: roll(2) === 0 ? second(at + 6 + roll(9)) : null,
        });
      case 1:
        return adjust(account, roll(3) === 0 ? amount : -amount);
      case 2:
        return reverse(account, some());
      case 3:
        return release(account, some());
      case 4:
        return extend(account, some(), amount + 9n, amount);
      case 5:
      case 6:
        return settle(account, some(), amount);
      default:
        ids.push(newId());
        return hold(account, ids.at(-1)!, amount, { least: 0n, ttlSeconds: roll(4) === 0 ? 1 + roll(6) : null });
    }
  };
  for (let at = 0; at < batches; at++) {
    await ledger.apply(
      Array.from({ length: 1 + roll(8) }, () => operation(at)),
      at,
    );
    if (roll(4) > 0) continue;
    const { rows } = await ledger.client.query<{ id: Uuid }>(
      'SELECT id FROM holds WHERE account_id = $1 AND owner <> 0 ORDER BY id LIMIT 1',
      [account],
    );
    if (rows[0] !== undefined) await ledger.recover(account, rows[0].id, at);
  }
}

/** Changes rows with the triggers off, as only a superuser can. */
export async function corrupt(ledger: LedgerRig, sql: string, values: unknown[] = []): Promise<void> {
  await ledger.client.query('BEGIN');
  await ledger.client.query('SET LOCAL session_replication_role = replica');
  const { rowCount } = await ledger.client.query(sql, values);
  await ledger.client.query('COMMIT');
  expect(rowCount, 'rows changed').toBeGreaterThan(0);
}
