/** Clawbacks for tests: what payments do to a wallet through SQL, at an instant of the tests' time. */
import type { ClientBase } from 'pg';
import { expect } from 'vitest';
import { OUTCOMES, type Outcome } from '../../src/ledger/outcomes.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { grant, type LedgerRig, newId, second } from './rig.ts';

export interface Clawback {
  account: bigint;
  id: Uuid;
  /** Below 0: takes; above: gives back. */
  amount: bigint;
  payment: string;
  /** What the payment granted. */
  lots: readonly Uuid[];
  reference: string;
}

export function clawback(
  account: bigint,
  amount: bigint,
  lots: readonly Uuid[],
  more: Partial<Clawback> = {},
): Clawback {
  const id = more.id ?? newId();
  return { account, id, amount, payment: 'pi_1', lots, reference: id, ...more };
}

/** Does it at second `at`; throws what the database raises. */
export async function claw(client: ClientBase, asked: Clawback, at = 0): Promise<Outcome> {
  const { account, id, amount, payment, lots, reference } = asked;
  const { rows } = await client.query<{ outcome: keyof typeof OUTCOMES }>(
    "SELECT ledger_clawback($1, $2, $3, $4, $5::uuid[], $6, 'refunded', $7) AS outcome",
    [account, id, amount, payment, lots, reference, second(at)],
  );
  return OUTCOMES[rows[0]!.outcome];
}

/** An account with a payment of 10 + a bonus of 5 that starts later, and another lot that burns first. */
export async function paidAccount(ledger: LedgerRig): Promise<{ account: bigint; lots: Uuid[] }> {
  const account = await ledger.newAccount();
  const [main, bonus] = [newId(), newId()];
  await ledger.apply([
    grant(account, 10n, { id: main, reference: 'main', priority: 1 }),
    grant(account, 5n, { id: bonus, reference: 'bonus', kind: 'bonus', priority: 1, startsAt: second(50) }),
    grant(account, 20n, { reference: 'other' }),
  ]);
  return { account, lots: [main, bonus] };
}

/** At second `at`, in the order given; each must be done. */
export async function clawAll(ledger: LedgerRig, account: bigint, lots: Uuid[], amounts: bigint[], at = 0) {
  for (const amount of amounts) expect(await claw(ledger.client, clawback(account, amount, lots), at)).toBe('done');
}
