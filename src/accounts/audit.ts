/** The audit log: who changed what through the admin API. Its rows never change, but for what an erased account leaves blank. */
import type { Pool } from 'pg';
import type { Db } from '../db/pool.ts';

/** A change, as it is told of. */
export interface Told {
  /** The name of the admin key. */
  author: string;
  /** What kind of thing, and what was done: `key.revoke`. */
  action: string;
  /** The account that it may hold personal data of. */
  account: bigint | null;
  /** A public id; of the catalog, kind and name: `model:gpt-4o`. */
  target: string;
  /** As the admin API shows the target, never a secret; `null`: it was not there. */
  before: object | null;
  /** `null`: it is not there any more. */
  after: object | null;
  reason: string | null;
}

/** A row of the log. */
export interface AuditRow extends Omit<Told, 'account'> {
  id: bigint;
  at: Date;
}

/** Which rows are looked for: those that have all that is given. */
export interface AuditFilter {
  author?: string | undefined;
  action?: string | undefined;
  target?: string | undefined;
  account?: bigint | undefined;
}

/**
 * Writes a row, in the transaction of the change. With the `reference` of something that is made once, it is written once, however
 * often it is told.
 */
export async function tellChange(db: Db, told: Told, reference: string | null = null): Promise<void> {
  await db.query(
    `INSERT INTO audit (author, action, account_id, target, before, after, reason, reference)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
    [told.author, told.action, told.account, told.target, json(told.before), json(told.after), told.reason, reference],
  );
}

function json(shown: object | null): string | null {
  return shown === null ? null : JSON.stringify(shown);
}

/** A page of rows, newest first; `after` is the last id of the page before. */
export async function listChanges(
  pool: Pool,
  filter: AuditFilter,
  page: { limit: number; after: bigint | null },
): Promise<AuditRow[]> {
  const { rows } = await pool.query<Omit<AuditRow, 'id'> & { audit_id: bigint }>(
    `SELECT audit_id, at, author, action, target, before, after, reason FROM audit
      WHERE ($1::bigint IS NULL OR audit_id < $1) AND ($3::text IS NULL OR author = $3) AND ($4::text IS NULL OR action = $4)
        AND ($5::text IS NULL OR target = $5) AND ($6::bigint IS NULL OR account_id = $6)
      ORDER BY audit_id DESC LIMIT $2`,
    [page.after, page.limit, filter.author, filter.action, filter.target, filter.account],
  );
  return rows.map(({ audit_id, ...row }) => ({ id: audit_id, ...row }));
}
