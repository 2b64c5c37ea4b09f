/** `GET usage`, as the customer and the admin API answer it: what an account used in some days, by model, key or day. */
import type { Pool } from 'pg';
import { z } from 'zod';
import { invalidField, readInput } from '../errors-input.ts';
import { publicId } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { foldUsage } from './usage-fold.ts';

/** Entries that a reader waits for: about a second. Only while the job cannot keep up has an account more. */
const MOST_BEHIND = 30_000;

const DAY = 'must be a day from 1970 to 9999 in UTC, such as 2026-01-31 or 2026-01-31T00:00:00Z';
const MIDNIGHT = /^(\d{4}-\d\d-\d\d)(T00:00:00(\.0+)?(Z|\+00:00))?$/i;
const day = z
  .string(DAY)
  .transform((value) => MIDNIGHT.exec(value)?.[1] ?? '')
  .refine((value) => value >= '1970' && isDay(value), DAY);
export const usageQuery = z.strictObject({
  from: day.optional(),
  to: day.optional(),
  group_by: z.enum(['model', 'key', 'day'], 'must be "model", "key" or "day"').default('model'),
});

function isDay(value: string): boolean {
  const at = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(value);
}

interface Counts {
  requests: number;
  input_tokens: number;
  output_tokens: number;
  credits: string;
}
export interface UsageRow extends Counts {
  /** A model, a key's id, or a day. */
  key: string;
}
export interface UsageReport {
  data: UsageRow[];
  total: Counts;
}

interface Row {
  key: string;
  requests: string;
  input_tokens: string;
  output_tokens: string;
  credits: string;
}

/**
 * What the account used from the day `from` until before the day `to`; without them, in this month by the database's clock.
 * All that was booked when it was asked is in it. `null`: no such account. Throws `invalid_request` on a query that will not do,
 * `overloaded` while the job still has to fold most of the account.
 */
export async function usageView(pool: Pool, account: bigint, query: unknown): Promise<UsageReport | null> {
  const { group_by: by, ...asked } = readInput(usageQuery, query);
  const month = await thisMonth(pool);
  const from = asked.from ?? month.from;
  const to = asked.to ?? month.to;
  if (from >= to) {
    const [field, rule] =
      asked.to === undefined ? ['from', `before ${to}, where this month ends`] : ['to', `after ${from}`];
    throw invalidField(field!, `must be ${rule}`);
  }
  if ((await foldUsage(pool, account, { most: MOST_BEHIND })) === null) return null;
  const { rows } = await pool.query<Row>(
    `SELECT ${KEYS[by]} AS key, sum(requests) AS requests, sum(input_tokens) AS input_tokens,
         sum(output_tokens) AS output_tokens, sum(credits) AS credits
       FROM usage_days WHERE account_id = $1 AND day >= $2 AND day < $3 GROUP BY 1 ORDER BY 1`,
    [account, from, to],
  );
  const data = by === 'key' ? rows.map((row) => ({ ...row, key: publicId('key', BigInt(row.key)) })) : rows;
  return { data: data.map((row) => ({ key: row.key, ...present([row]) })), total: present(rows) };
}

const KEYS = { model: 'model COLLATE "C"', key: 'key_id', day: "to_char(day, 'YYYY-MM-DD')" };

async function thisMonth(pool: Pool): Promise<{ from: string; to: string }> {
  const { rows } = await pool.query<{ from: string; to: string }>(
    `SELECT to_char(m, 'YYYY-MM-DD') AS from, to_char(m + interval '1 month', 'YYYY-MM-DD') AS to
       FROM date_trunc('month', now() AT TIME ZONE 'UTC') m`,
  );
  return rows[0]!;
}

function present(rows: readonly Row[]): Counts {
  const sum = (column: Exclude<keyof Row, 'key'>): bigint => rows.reduce((all, row) => all + BigInt(row[column]), 0n);
  return {
    requests: Number(sum('requests')),
    input_tokens: Number(sum('input_tokens')),
    output_tokens: Number(sum('output_tokens')),
    credits: formatCredits(sum('credits')),
  };
}

const COLUMNS = ['key', 'requests', 'input_tokens', 'output_tokens', 'credits'] as const;

/** The report in the form that an `Accept` header asks for: JSON, or its rows as CSV (RFC 4180), without the total. */
export function usageBody(report: UsageReport, accept: string | undefined): { type: string; body: string } {
  if (!(accept ?? '').toLowerCase().includes('text/csv')) {
    return { type: 'application/json; charset=utf-8', body: JSON.stringify(report) };
  }
  const lines = [
    COLUMNS.join(','),
    ...report.data.map((row) => COLUMNS.map((name) => csvField(String(row[name]))).join(',')),
  ];
  return { type: 'text/csv; charset=utf-8', body: lines.map((line) => `${line}\r\n`).join('') };
}

function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
