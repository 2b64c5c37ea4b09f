/** The operations that `ledger_apply` takes, and how a batch of them travels: one array a column, one round trip. */
import type { ClientBase, QueryArrayResult } from 'pg';
import type { Uuid } from '../lib/ids.ts';
import { LOT_KINDS, type LotKind, ON_ORPHAN, type OnOrphan, OUTCOMES, type Outcome, type Result } from './outcomes.ts';

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
  /** What the receipt of a recovered request needs; opaque here. */
  frozen: Buffer;
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
  creditsPerUsd: bigint;
}

export type Operation = Hold | Settle | Release | Grant;

const VERBS = { settle: 1, release: 2, grant: 3, hold: 4 } as const;
const EMPTY = Buffer.alloc(0);

function payload(operation: Operation): Buffer {
  switch (operation.verb) {
    case 'hold':
      return operation.frozen;
    case 'grant':
      return Buffer.from(
        JSON.stringify({
          kind: LOT_KINDS[operation.kind],
          reference: operation.reference,
          priority: operation.priority,
          starts_at: operation.startsAt?.toISOString() ?? null,
          expires_at: operation.expiresAt?.toISOString() ?? null,
          reason: operation.reason,
          per_usd: operation.creditsPerUsd.toString(),
        }),
      );
    default:
      return operation.receipt;
  }
}

const STATEMENT =
  'SELECT ord, outcome, amount, available, held FROM ledger_apply($1::smallint[], $2::bigint[], $3::uuid[], $4::bigint[], ' +
  '$5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::integer[], $12::integer[], ' +
  '$13::bytea, $14::bigint, $15::timestamptz)';

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
    start += bytes.length;
    if (operation.verb === 'hold') {
      columns.key += comma + operation.key;
      columns.amount += comma + operation.want;
      columns.least += comma + operation.least;
      columns.floor += comma + operation.floor;
      columns.policy += comma + operation.policyVersion;
      columns.catalog += comma + operation.catalogVersion;
      columns.orphan += comma + ON_ORPHAN[operation.onOrphan];
    } else {
      columns.key += `${comma}0`;
      columns.amount += comma + (operation.verb === 'release' ? 0 : operation.amount);
      columns.least += `${comma}0`;
      columns.floor += `${comma}0`;
      columns.policy += `${comma}0`;
      columns.catalog += `${comma}0`;
      columns.orphan += `${comma}0`;
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
