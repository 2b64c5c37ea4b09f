/**
 * Whose ids of stored answers are (0028-stored-ids.sql): noted when they are answered, looked up when a request names them.
 *
 *   (unknown) ──note──▶ owned ──forget, or pruned after `KEPT_DAYS`──▶ (unknown)
 *
 * Bounds: 500 ids of an answer (metering/readers/responses.ts), 1,000 of a request (metering/requests/stored-ids.ts), 200 characters
 * of an id; what is longer, or has other characters than an id's, is nobody's.
 */
import type { Pool } from 'pg';
import type { Uuid } from '../../lib/ids.ts';
import type { Job } from '../../lib/job.ts';

/** OpenAI keeps a response for 30 days. */
const KEPT_DAYS = 31;
const PRUNED_AT_ONCE = 5_000;
const DAY_MS = 24 * 3_600_000;
const CONTEXT = 'model, input_tokens, output_tokens, thought_tokens, items, is_bound';
/** Nothing that would mean anything in a path. */
const ID = /^[A-Za-z0-9_-]{1,200}$/;

/** What an answer holds that a follow-up reads which names it, in tokens (owned/follow-up.ts). */
export interface StoredContext {
  /** The provider's name of the model that counted them. */
  model: string;
  /** Of what the answer followed, and of what was said to it. */
  inputTokens: number;
  /** Of the answer, with its thoughts. */
  outputTokens: number;
  /** Of these, thoughts. */
  thoughtTokens: number;
  /** That the answer has. */
  items: number;
  /** No follow-up reads more of it. */
  isBound: boolean;
}

/** An id and whose it is. */
export interface OwnedId {
  id: string;
  provider: string;
  account: bigint;
  /** The request that it was answered to. */
  request: Uuid;
  /** `null`: nobody knows. */
  context: StoredContext | null;
}

/** Whether a text can be an id at all. */
export function isStoredId(text: string): boolean {
  return ID.test(text);
}

export class OwnedIds {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /**
   * Notes ids as an account's, and what naming one of them has read. An id that was noted before stays whose it is; of one that a provider
   * has given to two answers nobody knows what it names. Throws what the driver throws.
   */
  async note(
    account: bigint,
    provider: string,
    request: Uuid,
    ids: readonly string[],
    context: StoredContext | null = null,
  ): Promise<void> {
    await this.#pool.query({
      name: 'stored_ids_note',
      text: `INSERT INTO stored_ids (id, provider, account_id, request, ${CONTEXT})
             SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM (SELECT DISTINCT unnest($1::text[]) AS id ORDER BY 1) AS made
             ON CONFLICT (id, provider) DO UPDATE SET (${CONTEXT}) = (
               SELECT excluded.model, excluded.input_tokens, excluded.output_tokens, excluded.thought_tokens, excluded.items,
                      excluded.is_bound
                WHERE stored_ids.request = excluded.request)`,
      values: [
        ids.filter(isStoredId),
        ...[provider, account, request],
        ...[context?.model, context?.inputTokens, context?.outputTokens, context?.thoughtTokens],
        ...[context?.items, context?.isBound],
      ],
    });
  }

  /** Who owns which of these ids; those that nobody does are left out. */
  async find(ids: readonly string[]): Promise<OwnedId[]> {
    const { rows } = await this.#pool.query<OwnedId>({
      name: 'stored_ids_find',
      text: `SELECT id, provider, account_id AS account, request, CASE WHEN model IS NOT NULL THEN json_build_object(
               'model', model, 'inputTokens', input_tokens, 'outputTokens', output_tokens, 'thoughtTokens', thought_tokens,
               'items', items, 'isBound', is_bound) END AS context
               FROM stored_ids WHERE id = ANY ($1::text[])`,
      values: [ids.filter(isStoredId)],
    });
    return rows;
  }

  /** An id of an account is deleted at the provider: it is nobody's now. */
  async forget({ id, provider, account }: Pick<OwnedId, 'id' | 'provider' | 'account'>): Promise<void> {
    await this.#pool.query('DELETE FROM stored_ids WHERE id = $1 AND provider = $2 AND account_id = $3', [
      id,
      provider,
      account,
    ]);
  }

  /** Deletes what no provider keeps any more; whether there may be more of it. */
  async prune(): Promise<boolean> {
    const { rowCount } = await this.#pool.query(
      `DELETE FROM stored_ids WHERE ctid = ANY (ARRAY(SELECT ctid FROM stored_ids
         WHERE at < clock_timestamp() - make_interval(days => $1) LIMIT $2))`,
      [KEPT_DAYS, PRUNED_AT_ONCE],
    );
    return rowCount === PRUNED_AT_ONCE;
  }
}

/** Each process does it: what another has deleted is nothing to do. */
export function ownedIdsJob(pool: Pool): Job {
  const owned = new OwnedIds(pool);
  return { name: 'stored-ids-prune', everyMs: DAY_MS, run: () => owned.prune() };
}
