/**
 * Statements of what an account may do: how they are kept. Nothing is changed in place; a statement takes the place of the
 * one before it in its slot (0015-entitlements.sql). What they come to is said by `entitlements/`, purely.
 */
import type { ClientBase } from 'pg';

/** Where a statement comes from, strongest first. */
export const SOURCES = ['block', 'override', 'grant', 'subscription', 'plan'] as const;
export type Source = (typeof SOURCES)[number];

/** A statement as it was made. */
export interface Statement {
  id: bigint;
  /** Of the account: the order in which they were made. */
  version: number;
  source: Source;
  /** `model:<glob>`, `feature:<name>`, `limit:<name>`, `config:<name>`, or `plan`: all that a plan says. */
  key: string;
  /** Tells those of one source and key apart; `''` of overrides and of the assigned plan, which replace one another. */
  reference: string;
  /** By its key: whether, how many, JSON, or the plan's name. `null`: withdraws what its slot said. */
  value: unknown;
  from: Date;
  /** `null`: without an end. */
  until: Date | null;
  reason: string | null;
  author: string;
  createdAt: Date;
}

/** A statement to be made. `from` null: now; `until` null: without an end. */
export type NewStatement = Pick<Statement, 'source' | 'key' | 'reference' | 'value' | 'until' | 'reason' | 'author'> & {
  from: Date | null;
};

/** A statement as JSON of the database has it: see `entitlements_now`. */
export interface WrittenStatement {
  id: string;
  version: number;
  source: Source;
  key: string;
  reference: string;
  value: unknown;
  from: string;
  until: string | null;
  reason: string | null;
  author: string;
  created: string;
}

export function readStatement({ id, from, until, created, ...rest }: WrittenStatement): Statement {
  return {
    ...rest,
    id: BigInt(id),
    from: new Date(from),
    until: until === null ? null : new Date(until),
    createdAt: new Date(created),
  };
}

interface Row extends Pick<Statement, 'version' | 'source' | 'key' | 'reference' | 'value' | 'reason' | 'author'> {
  entitlement_id: bigint;
  valid_from: Date;
  valid_until: Date | null;
  created_at: Date;
}

const COLUMNS = `entitlement_id, version, source, key, reference, value, valid_from,
  nullif(valid_until, 'infinity') AS valid_until, reason, author, created_at`;

function toStatement({ entitlement_id, valid_from, valid_until, created_at, ...row }: Row): Statement {
  return { ...row, id: entitlement_id, from: valid_from, until: valid_until, createdAt: created_at };
}

/**
 * Makes a statement, effective at the next request on every gateway or when its time begins. `null`: no such account. Throws
 * what the driver throws for a value that does not fit its key.
 */
export async function putStatement(
  db: Pick<ClientBase, 'query'>,
  account: bigint,
  id: bigint,
  made: NewStatement,
): Promise<Statement | null> {
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM entitlement_put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      account,
      id,
      made.source,
      made.key,
      made.reference,
      made.value === null ? null : JSON.stringify(made.value),
      made.from,
      made.until,
      made.reason,
      made.author,
    ],
  );
  return rows[0] === undefined ? null : toStatement(rows[0]);
}

/** The statements in force at an instant, as they were known then, in the order in which they were made. */
export async function statementsAt(db: Pick<ClientBase, 'query'>, account: bigint, at: Date): Promise<Statement[]> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM entitlements_at($1, $2)`, [account, at]);
  return rows.map(toStatement);
}
