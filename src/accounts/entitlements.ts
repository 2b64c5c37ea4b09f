/**
 * Statements of what an account may do: how they are kept. Nothing is changed in place; a statement takes the place of the
 * one before it in its slot (0015-entitlements.sql). What they come to is said by `entitlements/`, purely.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClientBase } from 'pg';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';

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

/**
 * The statements in force at an instant, as they were known then, in the order in which they were made. `at`: with its offset, in
 * microseconds, which a `Date` has not.
 */
export async function statementsAt(db: Pick<ClientBase, 'query'>, account: bigint, at: string): Promise<Statement[]> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM entitlements_at($1, $2)`, [account, at]);
  return rows.map(toStatement);
}

/** SQL that writes an instant as RFC 3339, with its microseconds. */
export const isoText = (instant: string): string =>
  `to_char(${instant} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** The database's instant, as text in microseconds. */
export async function databaseNow(db: Pick<ClientBase, 'query'>): Promise<string> {
  const { rows } = await db.query<{ now: string }>(`SELECT ${isoText('clock_timestamp()')} AS now`);
  return rows[0]!.now;
}

/** What has become of a statement: it is in force, waits, is over, or a newer one of its slot stands for it; or it withdraws those before it. */
export type StatementState = 'in_force' | 'waits' | 'over' | 'replaced' | 'withdrawal';
export type KeptStatement = Statement & { state: StatementState };

/** Tells statements of one account apart; see `Statement`. */
export type Slot = Pick<Statement, 'source' | 'key' | 'reference'>;

/** In force or waiting, of one account: those in force ride with its principals. */
const MOST_LIVE = 200;
const MOST_LIVE_BYTES = 65_536;

/** The statements of an account ($1) known at an instant ($2; null: now), each with its state then. */
const KEPT = `(SELECT e.*, CASE WHEN value IS NULL THEN 'withdrawal' WHEN replaced_from <= greatest(valid_from, at) THEN 'replaced'
      WHEN valid_until <= at THEN 'over' WHEN valid_from > at THEN 'waits' ELSE 'in_force' END AS state
    FROM (SELECT *, min(valid_from) OVER (PARTITION BY source, key, reference ORDER BY version DESC
          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS replaced_from
        FROM entitlements WHERE account_id = $1 AND ($2::timestamptz IS NULL OR created_at <= $2)) e,
      (SELECT coalesce($2, clock_timestamp()) AS at) t) kept`;

/** What was stated of an account and known at an instant (`null`: now), newest first, at most `limit`. */
export async function keptStatements(
  db: Pick<ClientBase, 'query'>,
  account: bigint,
  { at, limit }: { at: string | null; limit: number },
): Promise<KeptStatement[]> {
  const { rows } = await db.query<Row & { state: StatementState }>(
    `SELECT ${COLUMNS}, state FROM ${KEPT} ORDER BY version DESC LIMIT $3`,
    [account, at, limit],
  );
  return rows.map(({ state, ...row }) => ({ ...toStatement(row), state }));
}

/**
 * Sets an override, in the place of the one before it. Effective at the next request on every gateway, or when its time begins.
 * Throws `not_found` without the account, `conflict` when it has too many statements.
 */
export async function setOverride(
  database: Db,
  clock: Clock,
  account: bigint,
  made: NewStatement,
): Promise<KeptStatement> {
  return transaction(database, async (db) => {
    const kept = await lockSlot(db, account, made);
    return state(db, clock, account, made, kept);
  });
}

/**
 * Adds a statement with a reference of its own; again with the same fields it answers the one that was made, `created: false`,
 * whatever has become of that. Throws `reference_reused` naming the first field that differs, `not_found` without the account, and
 * `conflict` when it has too many statements.
 */
export async function addStatement(
  database: Db,
  clock: Clock,
  account: bigint,
  made: NewStatement,
): Promise<{ statement: KeptStatement; created: boolean }> {
  return transaction(database, async (db) => {
    const kept = await lockSlot(db, account, made);
    const first = kept.findLast(({ value }) => value !== null);
    if (first === undefined) return { statement: await state(db, clock, account, made, kept), created: true };
    const differs = differingField(first, made);
    if (differs === null) return { statement: first, created: false };
    throw new TollgateError('reference_reused', {
      param: differs,
      message: `A ${made.source} of ${JSON.stringify(made.key)} with this reference exists with another ${differs}. Use another reference, or withdraw it first.`,
    });
  });
}

/**
 * Withdraws what a slot says, now and later: a statement of its own. `null`: it says nothing. Throws `not_found` without the account.
 */
export async function withdrawStatement(
  database: Db,
  clock: Clock,
  account: bigint,
  slot: Slot,
  by: Pick<Statement, 'reason' | 'author'>,
): Promise<KeptStatement | null> {
  return transaction(database, async (db) => {
    const kept = await lockSlot(db, account, slot);
    if (!kept.some(isLive)) return null;
    return state(db, clock, account, { ...slot, ...by, value: null, from: null, until: null }, kept);
  });
}

/** What speaks for a slot, or waits to; `null`: nothing. Whoever changes the account waits until this transaction ends. */
export async function lockStatement(db: ClientBase, account: bigint, slot: Slot): Promise<KeptStatement | null> {
  return (await lockSlot(db, account, slot)).find(isLive) ?? null;
}

const isLive = ({ state }: KeptStatement): boolean => state === 'in_force' || state === 'waits';

/** Waits for whoever changes the account, and reads all of a slot, newest first. */
async function lockSlot(db: ClientBase, account: bigint, { source, key, reference }: Slot): Promise<KeptStatement[]> {
  const { rowCount } = await db.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account]);
  if (rowCount === 0) throw new TollgateError('not_found', { message: 'There is no such account.' });
  const { rows } = await db.query<Row & { state: StatementState }>(
    `SELECT ${COLUMNS}, state FROM ${KEPT} WHERE source = $3 AND key = $4 AND reference = $5 ORDER BY version DESC`,
    [account, null, source, key, reference],
  );
  return rows.map(({ state, ...row }) => ({ ...toStatement(row), state }));
}

async function state(
  db: ClientBase,
  clock: Clock,
  account: bigint,
  made: NewStatement,
  kept: readonly KeptStatement[],
): Promise<KeptStatement> {
  if (made.value !== null) await refuseUseless(db, account, made, made.from === null && kept.some(isLive));
  const put = (await putStatement(db, account, mintId(clock), made))!;
  const waits = made.from !== null && put.from > put.createdAt;
  return { ...put, state: made.value === null ? 'withdrawal' : waits ? 'waits' : 'in_force' };
}

/** Refuses what is over already, and what is too much beside all else that is live. `replaces`: what its slot says now counts no more. */
async function refuseUseless(db: ClientBase, account: bigint, made: NewStatement, replaces: boolean): Promise<void> {
  const { rows } = await db.query<{ live: number; bytes: number; over: boolean }>(
    `SELECT count(*)::integer AS live, coalesce(sum(octet_length(value::text) + octet_length(coalesce(reason, ''))), 0)::integer AS bytes,
       coalesce($3::timestamptz <= clock_timestamp(), false) AS over
     FROM ${KEPT} WHERE state IN ('in_force', 'waits') AND NOT ($4 AND source = $5 AND key = $6 AND reference = $7)`,
    [account, null, made.until, replaces, made.source, made.key, made.reference],
  );
  const { live, bytes, over } = rows[0]!;
  if (over) {
    const message = "Invalid value for 'valid_until': must be in the future.";
    throw new TollgateError('invalid_request', { param: 'valid_until', message });
  }
  const own = Buffer.byteLength(JSON.stringify(made.value)) + Buffer.byteLength(made.reason ?? '');
  if (live < MOST_LIVE && bytes + own <= MOST_LIVE_BYTES) return;
  const message =
    `An account can have ${MOST_LIVE} statements in force or waiting, of ${MOST_LIVE_BYTES} bytes with their values and reasons. ` +
    'Withdraw some, or give it a plan instead.';
  throw new TollgateError('conflict', { message });
}

/** The field in which a statement differs from what is to be made; `null`: none does. One that was to begin at once began as it was made. */
function differingField(first: Statement, made: NewStatement): string | null {
  const from = made.from ?? first.createdAt;
  if (!isDeepStrictEqual(first.value, made.value)) return 'value';
  if (first.from.getTime() !== from.getTime()) return 'valid_from';
  if (first.until?.getTime() !== made.until?.getTime()) return 'valid_until';
  return first.reason === made.reason ? null : 'reason';
}
