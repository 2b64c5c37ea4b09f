/**
 * The rows of responses that run at a provider after their request has ended (0029-background-responses.sql has their states). A row
 * is its own job: whoever claims it moves its `due_at` on, so that what a process that died had claimed is due again a minute later.
 */
import type { Pool } from 'pg';
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { transaction } from '../../db/pool.ts';
import { ON_ORPHAN, type OnOrphan } from '../../ledger/outcomes.ts';
import { endedHold, readRequest } from '../../ledger/requests.ts';
import type { Uuid } from '../../lib/ids.ts';
import type { AttemptFacts } from '../../metering/receipt.ts';
import type { Asks } from '../../metering/requests/asks.ts';

/** What a charge and its receipt need beside the hold. */
export interface BackgroundFacts {
  /** What the request likely used, should nobody say. */
  likely: Usage;
  /** Whether all that is read for it is counted. Absent: a release noted it that did not ask. */
  isCounted?: boolean;
  /** What bears on its charge, as of any request (../billed.ts). */
  asks: Asks;
  terms?: Terms | undefined;
  painter?: Terms['painter'];
  clampedTo: number | null;
  attempts: readonly AttemptFacts[];
}

export interface BackgroundRow {
  account: bigint;
  request: Uuid;
  /** Null: its gateway died before the provider's answer was noted. */
  provider: string | null;
  responseId: string | null;
  facts: BackgroundFacts;
  /** Since it was created, by the database's clock. */
  ageMs: number;
}

/** The hold of a row, open or ended by its own time. Nano-credits. */
export interface BackgroundHold {
  amount: bigint;
  /** The least that it costs should nobody know. */
  floor: bigint;
  onOrphan: OnOrphan;
  frozen: Buffer;
}

/** No response runs for longer; its hold outlives it by an hour. */
export const MOST_AGE_MS = 24 * 3_600_000;
export const BACKGROUND_HOLD_SECONDS = MOST_AGE_MS / 1_000 + 3_600;
/** A claim lasts longer than a provider is waited for. */
export const CLAIM_MS = 60_000;
/** A gateway that died is known to be dead for so long, so that its journal was replayed. */
const DEAD_FOR = '2 minutes';
/** An answer with an id comes within the silence that a provider is granted; then none will. */
const CREATED_WITHIN = '30 minutes';

const COLUMNS = `account_id AS account, request, provider, response_id AS "responseId", facts,
  (extract(epoch FROM clock_timestamp() - created_at) * 1000)::float8 AS "ageMs"`;

const CLAIM = `
  UPDATE background_responses SET due_at = clock_timestamp() + $2 * interval '1 ms'
  WHERE (account_id, request) IN (
    SELECT account_id, request FROM background_responses b
    WHERE due_at <= clock_timestamp() AND (response_id IS NOT NULL OR created_at < clock_timestamp() - interval '${CREATED_WITHIN}'
      OR (created_at < clock_timestamp() - interval '${DEAD_FOR}'
        AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = b.owner AND o.lease_until > clock_timestamp())))
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING ${COLUMNS}`;

export class BackgroundRows {
  readonly #pool: Pool;
  readonly #owner: bigint;

  /** `owner`: this gateway. */
  constructor(pool: Pool, owner: bigint) {
    this.#pool = pool;
    this.#owner = owner;
  }

  /** Before the hold: the request is going to be one of these. */
  async open(account: bigint, request: Uuid, facts: BackgroundFacts): Promise<void> {
    await this.#pool.query(
      'INSERT INTO background_responses (account_id, request, owner, facts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [account, request, this.#owner, facts],
    );
  }

  /** The provider has answered with an id: it is the account's, and from now on the job's. Both or none. */
  async handOver(
    { account, request }: Pick<BackgroundRow, 'account' | 'request'>,
    at: { provider: string; responseId: string },
    facts: BackgroundFacts,
    dueMs: number,
  ): Promise<boolean> {
    return transaction(this.#pool, async (client) => {
      const { rowCount } = await client.query(
        `UPDATE background_responses SET provider = $3, response_id = $4, facts = $5, due_at = clock_timestamp() + $6 * interval '1 ms'
         WHERE account_id = $1 AND request = $2`,
        [account, request, at.provider, at.responseId, facts, dueMs],
      );
      await client.query(
        'INSERT INTO stored_ids (id, provider, account_id, request) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
        [at.responseId, at.provider, account, request],
      );
      return rowCount === 1;
    });
  }

  /** Its hold has ended, or never was. */
  async close(account: bigint, request: Uuid): Promise<void> {
    await this.#pool.query('DELETE FROM background_responses WHERE account_id = $1 AND request = $2', [
      account,
      request,
    ]);
  }

  /** Takes what is due, at most so many. */
  async claim(most: number): Promise<BackgroundRow[]> {
    return (await this.#pool.query<BackgroundRow>(CLAIM, [most, CLAIM_MS])).rows;
  }

  /** Takes the one of a response, due or not; null: it is none of these, or settled. */
  async claimOf(account: bigint, provider: string, responseId: string): Promise<BackgroundRow | null> {
    const { rows } = await this.#pool.query<BackgroundRow>(
      `UPDATE background_responses SET due_at = clock_timestamp() + $4 * interval '1 ms'
       WHERE account_id = $1 AND provider = $2 AND response_id = $3 RETURNING ${COLUMNS}`,
      [account, provider, responseId, CLAIM_MS],
    );
    return rows[0] ?? null;
  }

  async putOff({ account, request }: Pick<BackgroundRow, 'account' | 'request'>, afterMs: number): Promise<void> {
    await this.#pool.query(
      `UPDATE background_responses SET due_at = clock_timestamp() + $3 * interval '1 ms' WHERE account_id = $1 AND request = $2`,
      [account, request, Math.round(afterMs)],
    );
  }

  /** Its hold; null: it has ended with a charge or a release, or never was. */
  async holdOf({ account, request }: BackgroundRow): Promise<BackgroundHold | null> {
    const { rows } = await this.#pool.query<{ amount: bigint; least: bigint; onOrphan: number; frozen: Buffer }>(
      `SELECT amount, least(amount, greatest(floor, metered)) AS least, on_orphan AS "onOrphan", frozen FROM holds
       WHERE account_id = $1 AND id = $2`,
      [account, request],
    );
    const open = rows[0];
    if (open !== undefined) {
      const [onOrphan] = Object.entries(ON_ORPHAN).find(([, number]) => number === open.onOrphan)!;
      return { amount: open.amount, floor: open.least, onOrphan: onOrphan as OnOrphan, frozen: open.frozen };
    }
    const known = await readRequest(this.#pool, account, request);
    const lapse = known?.entries.length === 1 ? known.entries[0]! : null;
    const ended = lapse?.kind === 'lapse' && lapse.receipt !== null ? endedHold(lapse.kind, lapse.receipt) : null;
    return ended === null ? null : { ...ended, floor: 0n, onOrphan: 'release' };
  }
}
