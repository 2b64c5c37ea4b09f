/**
 * The verbs of a host application, which names what it does: a name is used once, and the same again answers as it did. See
 * `db/migrations/0018-consumption.sql`.
 */
import type { Pool } from 'pg';
import type { Uuid } from '../lib/ids.ts';

/** What a name was used with: the same again has the same. Opaque to the ledger. */
export type Fields = Readonly<Record<string, string | number | Readonly<Record<string, number>>>>;

interface Named {
  account: bigint;
  id: Uuid;
  /** Unique for an account and a verb. */
  name: string;
  fields: Fields;
  /** Nano-credits. */
  amount: bigint;
}

/** By whom, and judged by which versions of policy and catalog; older than the database's → `stale_policy`. */
interface Judged {
  key: bigint;
  policyVersion: bigint;
  catalogVersion: bigint;
}

/** Charges `amount` without a hold before it, or refuses it and charges nothing. `id` is the request's. */
export interface Consume extends Named, Judged {
  verb: 'consume';
  /** It is used already: what is short becomes debt, whatever the budgets. */
  mayOwe: boolean;
  receipt: Buffer;
}

/** Holds `amount`, all of it or nothing, until it is settled or released, or its time is over. `id` is the hold's. */
export interface Reserve extends Named, Judged {
  verb: 'reserve';
  ttlSeconds: number;
  /** What the receipt needs; opaque here. */
  frozen: Buffer;
}

/** Adds `amount` to an open hold. `id` is the hold's. */
export interface Enlarge extends Named {
  verb: 'enlarge';
}

export type NamedOperation = Consume | Reserve | Enlarge;

/** Holds that end by themselves which an account may have open. */
export const MOST_RESERVED = 1_000;

/** The terms of an operation as `ledger_apply` reads them. Receipts and frozen facts are text. */
export function namedTerms(operation: NamedOperation): Buffer {
  const { name, fields } = operation;
  switch (operation.verb) {
    case 'consume':
      return terms({ name, fields, receipt: operation.receipt.toString(), may_owe: operation.mayOwe });
    case 'reserve':
      return terms({ name, fields, frozen: operation.frozen.toString(), most: MOST_RESERVED });
    case 'enlarge':
      return terms({ name, fields });
  }
}

function terms(json: object): Buffer {
  return Buffer.from(JSON.stringify(json));
}

const KINDS = { consume: 1, reserve: 2, enlarge: 3 } as const;

/** What a name stands for. */
export interface NamedRow {
  id: Uuid;
  amount: bigint;
  fields: Fields;
  /** Of a hold: when it ends, or would have ended, by itself. */
  expiresAt: Date | null;
}

/** What an account's name stands for; `null`: nothing, or it was refused. */
export async function readNamed(
  pool: Pool,
  account: bigint,
  verb: keyof typeof KINDS,
  name: string,
): Promise<NamedRow | null> {
  const { rows } = await pool.query<NamedRow>(
    `SELECT id, amount, fields, expires_at AS "expiresAt" FROM named_operations
      WHERE account_id = $1 AND kind = $2 AND name = $3`,
    [account, KINDS[verb], name],
  );
  return rows[0] ?? null;
}

/** A hold that an app named, as it stands. Nano-credits. */
export interface NamedHold {
  id: Uuid;
  status: 'open' | 'settled' | 'released' | 'expired';
  /** What it holds now; once it has ended, what it held last as far as that is known. */
  amount: bigint;
  charged: bigint;
  openedAt: Date;
  expiresAt: Date;
}

interface HoldRow extends Omit<NamedHold, 'status'> {
  isOpen: boolean;
  ended: number | null;
}

const ENDED = new Map<number, NamedHold['status']>([
  [2, 'settled'],
  [3, 'released'],
  [5, 'settled'],
]);

/** The hold that an account gave a name; `null`: none, or it was refused. One whose time is over is expired, noticed or not. */
export async function readNamedHold(pool: Pool, account: bigint, name: string): Promise<NamedHold | null> {
  const { rows } = await pool.query<HoldRow>(
    `SELECT n.id, coalesce(h.amount, n.amount) AS amount, n.at AS "openedAt", n.expires_at AS "expiresAt",
         coalesce(h.expires_at > clock_timestamp(), false) AS "isOpen", coalesce(e.charged, 0) AS charged, e.ended
       FROM named_operations n LEFT JOIN holds h ON h.account_id = n.account_id AND h.id = n.id,
         LATERAL (SELECT -total(t.amount) AS charged, (array_agg(t.kind ORDER BY t.seq DESC))[1] AS ended FROM entries t
           WHERE t.account_id = n.account_id AND t.id = n.id AND t.kind IN (2, 3, 5, 9)) e
      WHERE n.account_id = $1 AND n.kind = 2 AND n.name = $2`,
    [account, name],
  );
  if (rows[0] === undefined) return null;
  const { isOpen, ended, ...hold } = rows[0];
  return { ...hold, status: isOpen ? 'open' : (ENDED.get(ended ?? 0) ?? 'expired') };
}
