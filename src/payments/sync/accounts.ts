/** Whose a payment is. Never by e-mail, which anybody may write; never by metadata alone, which must agree with a row of ours. */
import { parseAccountRef } from '../../accounts/account-ref.ts';
import type { Db } from '../../db/pool.ts';
import { parsePublicId } from '../../lib/ids.ts';

/** What Stripe and our own rows say of whose it is. */
export interface PayerHints {
  customer: string | null;
  /** A session's `client_reference_id`: `acct_…`, `ext:…`, or an external id as it is. */
  clientReference?: string | null;
  /** Our rows that name this very session or intent. */
  checkout?: OwnRow | null;
  recharge?: OwnRow | null;
}

export interface OwnRow {
  account: bigint;
  /** Whom it was made for: an account whose customer was deleted at Stripe has another one by now. */
  customer?: string | null;
}

/**
 * The account, in this order: of our own row, unless both that and its account have another customer; whose customer it is; what the client reference
 * says, unless the customer is somebody's. `null`: nobody's. One that was erased is found as well.
 */
export async function findPayer(db: Db, hints: PayerHints): Promise<bigint | null> {
  const { customer } = hints;
  const own = hints.checkout ?? hints.recharge ?? null;
  if (own !== null && (await agrees(db, own, customer))) return own.account;
  if (customer !== null) {
    const { rows } = await db.query<{ account_id: bigint }>(
      'SELECT account_id FROM accounts WHERE stripe_customer_id = $1',
      [customer],
    );
    if (rows[0] !== undefined) return rows[0].account_id;
  }
  return byReference(db, hints.clientReference ?? null);
}

/** Nobody's customer, whom it was made for, or the account's own. */
async function agrees(db: Db, { account, customer: madeFor }: OwnRow, customer: string | null): Promise<boolean> {
  if (customer === null || customer === madeFor) return true;
  const { rows } = await db.query<{ stripe_customer_id: string | null }>(
    'SELECT stripe_customer_id FROM accounts WHERE account_id = $1',
    [account],
  );
  return rows[0] !== undefined && (rows[0].stripe_customer_id ?? customer) === customer;
}

async function byReference(db: Db, reference: string | null): Promise<bigint | null> {
  if (reference === null) return null;
  const id = parsePublicId('acct', reference);
  const externalId = id === null ? (parseAccountRef(reference)?.externalId ?? reference) : null;
  const { rows } = await db.query<{ account_id: bigint }>(
    'SELECT account_id FROM accounts WHERE account_id = $1 OR external_id = $2',
    [id, externalId],
  );
  return rows[0]?.account_id ?? null;
}
