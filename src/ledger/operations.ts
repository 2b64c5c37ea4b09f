/** The operations that `ledger_apply` takes, and how a batch of them travels: one array a column, one round trip. */
import type { ClientBase, QueryArrayResult } from 'pg';
import type { Uuid } from '../lib/ids.ts';
import { type NamedOperation, namedTerms } from './named-operations.ts';
import {
  ADJUSTMENT_BOOKS,
  type AdjustmentBook,
  LOT_KINDS,
  type LotKind,
  ON_ORPHAN,
  type OnOrphan,
  OUTCOMES,
  type Outcome,
  type Result,
} from './outcomes.ts';

/** Reserves `want` if it fits, else all that fits if that is at least `least`, else nothing. Nano-credits. */
export interface Hold {
  verb: 'hold';
  account: bigint;
  id: Uuid;
  key: bigint;
  want: bigint;
  least: bigint;
  /** What is charged at least, should this gateway die before it settles. */
  floor: bigint;
  /** The versions of policy and catalog that the request was judged by; older than the database's → `stale_policy`. */
  policyVersion: bigint;
  catalogVersion: bigint;
  onOrphan: OnOrphan;
  /** Seconds until the hold ends by itself, released, whoever opened it. `null`: it is this gateway's, and goes with it. */
  ttlSeconds: number | null;
  /** What the receipt of a recovered request needs; opaque here. */
  frozen: Buffer;
}

/** Makes a hold at least `least`, at best `want` in all: the whole amounts, so that asking twice extends once. */
export interface Extend {
  verb: 'extend';
  account: bigint;
  id: Uuid;
  want: bigint;
  least: bigint;
}

/** Charges `amount` nano-credits for a hold and ends it. */
export interface Settle {
  verb: 'settle';
  account: bigint;
  id: Uuid;
  amount: bigint;
  receipt: Buffer;
}

/** Ends a hold without a charge. */
export interface Release {
  verb: 'release';
  account: bigint;
  id: Uuid;
  receipt: Buffer;
}

/** What ends a hold that came to nothing; its receipt is what was frozen with it. */
export function releaseOf({ account, id, frozen }: Pick<Hold, 'account' | 'id' | 'frozen'>): Release {
  return { verb: 'release', account, id, receipt: frozen };
}

/** Adds a lot of credits. `reference` makes it happen once. */
export interface Grant {
  verb: 'grant';
  account: bigint;
  id: Uuid;
  amount: bigint;
  kind: LotKind;
  reference: string;
  priority: number;
  startsAt: Date | null;
  expiresAt: Date | null;
  reason: string | null;
  /** What was paid for it, in the currency's minor unit. */
  paid: { minor: bigint; currency: string } | null;
  creditsPerUsd: bigint;
}

/** Adds credits, or takes them: what is short becomes debt. `reference` makes it happen once. */
export interface Adjust {
  verb: 'adjust';
  account: bigint;
  id: Uuid;
  /** Nano-credits, signed; not 0. */
  amount: bigint;
  book: AdjustmentBook;
  reference: string;
  reason: string;
  creditsPerUsd: bigint;
}

/** Gives back what a request was charged, once. */
export interface Reverse {
  verb: 'reverse';
  account: bigint;
  /** The request's. */
  id: Uuid;
  /** Nano-credits; `null`: all that it was charged. */
  amount: bigint | null;
  reason: string;
}

export type Operation = Hold | Extend | Settle | Release | Grant | Adjust | Reverse | NamedOperation;

const VERBS = {
  settle: 1,
  release: 2,
  grant: 3,
  hold: 4,
  extend: 5,
  adjust: 6,
  reverse: 7,
  consume: 8,
  reserve: 9,
  enlarge: 10,
} as const;
const EMPTY = Buffer.alloc(0);

/** The bytes that travel with an operation: opaque ones as they are, terms as JSON. */
function payload(operation: Operation): Buffer {
  switch (operation.verb) {
    case 'hold':
      return operation.frozen;
    case 'settle':
    case 'release':
      return operation.receipt;
    case 'extend':
      return EMPTY;
    case 'grant':
      return Buffer.from(
        JSON.stringify({
          kind: LOT_KINDS[operation.kind],
          reference: operation.reference,
          priority: operation.priority,
          starts_at: operation.startsAt?.toISOString() ?? null,
          expires_at: operation.expiresAt?.toISOString() ?? null,
          reason: operation.reason,
          paid_minor: operation.paid?.minor.toString() ?? null,
          currency: operation.paid?.currency ?? null,
          per_usd: operation.creditsPerUsd.toString(),
        }),
      );
    case 'adjust':
      return Buffer.from(
        JSON.stringify({
          book: ADJUSTMENT_BOOKS[operation.book],
          reference: operation.reference,
          reason: operation.reason,
          per_usd: operation.creditsPerUsd.toString(),
        }),
      );
    case 'reverse':
      return Buffer.from(JSON.stringify({ reason: operation.reason }));
    default:
      return namedTerms(operation);
  }
}

/** The amount as `ledger_apply` takes it: of a hold what it shall be at best; -1 stands for all. */
function amountOf(operation: Operation): bigint {
  switch (operation.verb) {
    case 'hold':
    case 'extend':
      return operation.want;
    case 'release':
      return 0n;
    case 'reverse':
      return operation.amount ?? -1n;
    default:
      return operation.amount;
  }
}

const STATEMENT =
  'SELECT ord, outcome, amount, available, held FROM ledger_apply($1::smallint[], $2::bigint[], $3::uuid[], $4::bigint[], ' +
  '$5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::integer[], $12::integer[], ' +
  '$13::integer[], $14::bytea, $15::bigint, $16::timestamptz)';

/** Array columns as Postgres writes them: `{1,2}`. Every value here is a number or a UUID, so nothing is quoted. */
class Columns {
  verb = '';
  account = '';
  id = '';
  key = '';
  amount = '';
  least = '';
  floor = '';
  policy = '';
  catalog = '';
  orphan = '';
  ttl = '';
  start = '';
  length = '';
}

function toColumns(operations: readonly Operation[], data: Buffer[]): Columns {
  const columns = new Columns();
  let start = 1;
  let comma = '';
  for (const operation of operations) {
    const bytes = payload(operation);
    data.push(bytes);
    columns.verb += comma + VERBS[operation.verb];
    columns.account += comma + operation.account;
    columns.id += comma + operation.id;
    columns.start += comma + start;
    columns.length += comma + bytes.length;
    columns.amount += comma + amountOf(operation);
    start += bytes.length;
    if (operation.verb === 'hold') {
      columns.key += comma + operation.key;
      columns.least += comma + operation.least;
      columns.floor += comma + operation.floor;
      columns.policy += comma + operation.policyVersion;
      columns.catalog += comma + operation.catalogVersion;
      columns.orphan += comma + ON_ORPHAN[operation.onOrphan];
      columns.ttl += comma + (operation.ttlSeconds ?? 0);
    } else {
      const asks = operation.verb === 'consume' || operation.verb === 'reserve' ? operation : null;
      columns.key += comma + (asks?.key ?? 0);
      columns.least += comma + (operation.verb === 'extend' ? operation.least : 0);
      columns.floor += `${comma}0`;
      columns.policy += comma + (asks?.policyVersion ?? 0);
      columns.catalog += comma + (asks?.catalogVersion ?? 0);
      columns.orphan += `${comma}0`;
      columns.ttl += comma + (operation.verb === 'reserve' ? operation.ttlSeconds : 0);
    }
    comma = ',';
  }
  return columns;
}

const split = (array: string): string[] => array.slice(1, -1).split(',');
const asText = { getTypeParser: () => (value: string | Buffer) => value };

/**
 * Applies the operations in one round trip and one commit; answers in their order. Idempotent: the same call again
 * moves nothing. Throws what the driver throws; then nothing was applied, or the answer was lost.
 *
 * @param at an instant to judge by instead of the database's clock; for tests alone
 */
export async function applyOperations(
  client: ClientBase,
  operations: readonly Operation[],
  owner: bigint,
  at: Date | null = null,
): Promise<Result[]> {
  const data: Buffer[] = [];
  const c = toColumns(operations, data);
  const answer: QueryArrayResult<string[]> = await client.query({
    name: 'ledger_apply',
    text: STATEMENT,
    rowMode: 'array',
    types: asText,
    values: [
      `{${c.verb}}`,
      `{${c.account}}`,
      `{${c.id}}`,
      `{${c.key}}`,
      `{${c.amount}}`,
      `{${c.least}}`,
      `{${c.floor}}`,
      `{${c.policy}}`,
      `{${c.catalog}}`,
      `{${c.orphan}}`,
      `{${c.ttl}}`,
      `{${c.start}}`,
      `{${c.length}}`,
      data.length === 0 ? EMPTY : Buffer.concat(data),
      owner.toString(),
      at?.toISOString() ?? null,
    ],
  });
  const [ord, outcome, amount, available, held] = answer.rows[0]!.map(split) as [
    string[],
    string[],
    string[],
    string[],
    string[],
  ];
  const results = new Array<Result>(operations.length);
  for (let i = 0; i < ord.length; i++) {
    results[Number(ord[i]) - 1] = {
      outcome: OUTCOMES[Number(outcome[i]) as keyof typeof OUTCOMES] as Outcome,
      amount: BigInt(amount[i]!),
      available: BigInt(available[i]!),
      held: BigInt(held[i]!),
    };
  }
  return results;
}
