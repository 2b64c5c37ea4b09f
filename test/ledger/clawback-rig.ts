/** Clawbacks for tests: what payments do to a wallet through SQL, at an instant of the tests' time. */
import type { ClientBase } from 'pg';
import { OUTCOMES, type Outcome } from '../../src/ledger/outcomes.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { newId, second } from './rig.ts';

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
