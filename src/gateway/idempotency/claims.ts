/**
 * The claims on idempotency keys, in the database: who works on a key, and what its request was answered.
 *
 *              claim                  whole answer
 *   (absent) ─────────▶ running ──────────────────▶ kept ──room for newer answers──▶ dropped
 *      ▲                 │ │ │ └──larger than kept──▶ too large
 *      │                 │ │ └──could not be kept, or its gateway died after the hold──▶ lost
 *      │                 │ └──its gateway died before the hold──▶ running, for whoever claims it next
 *      └──refused, failed, incomplete          any ──24 h by the database's clock──▶ (absent)
 *
 * The scope of a key is an account and an API key, so a rotated API key does not see what its forerunner claimed. A claim is
 * one round trip. One that cannot be ended, because the database is away, is ended later, as far as this process lives; after
 * that, the claim function tells by the lease and the hold.
 */
import type { Pool } from 'pg';
import { promptly } from '../../db/pool.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Uuid } from '../../lib/ids.ts';
import type { Logger } from '../../observe/log.ts';

/** What is kept for an account; of more, the oldest answers are dropped. */
const ROOM_BYTES = 256 * 1024 * 1024;
/** How long an answer waits for being kept, and for a claim to be forgotten, before it leaves all the same. */
const KEEP_MS = 1_000;
/** Short: a hold that the database did not answer has taken 1.9 s of the 2 s within which its client hears so. */
const FORGET_MS = 50;
const TIDY_MS = 5_000;
/** An answer is read in such pieces: whole, 8 MB in the driver's form would stall this process's streams for 50 ms and more. */
const PIECE_BYTES = 256 * 1024;
/** Rows deleted in one statement, and statements of one round. */
const EXPIRE_LIMIT = 200;
const EXPIRE_MOST = 50;
/** Ends that the database has not taken yet. What is beyond lasts until its 24 hours are over. */
const UNENDED_MOST = 10_000;

/** As the table has them; what is forgotten leaves it. */
const STATES = { forgotten: 0, kept: 1, lost: 2, too_large: 3 } as const;
/** How a claim ends. */
export type End = keyof typeof STATES;

/** Where a claim stands, and whose it is. */
export interface Place {
  account: bigint;
  key: bigint;
  /** MAC of the idempotency key. */
  name: Buffer;
  /** MAC of what the request asks for. */
  fingerprint: Buffer;
  request: Uuid;
}

/** Why a claim is refused; `request` is the one that has it. */
export interface Refusal {
  outcome: 'reused' | 'in_use' | 'lost' | 'too_large' | 'dropped';
  request: Uuid;
}

/** An answer that is kept: the first piece of it, and how many bytes it has in all, sealed. */
export interface KeptAnswer {
  outcome: 'kept';
  request: Uuid;
  answer: Buffer;
  size: number;
}

export type Standing = { outcome: 'claimed' | 'stale_policy' } | KeptAnswer | Refusal;

/** An answer made room for a newer one while it was read. */
export class AnswerDropped extends Error {}

export interface ClaimsOptions {
  pool: Pool;
  owner: bigint;
  clock: Clock;
  log: Logger;
  /** Bytes kept for an account: other than the default for tests alone. */
  roomBytes?: number;
}

export class Claims {
  readonly #options: ClaimsOptions;
  readonly #unended = new Map<Uuid, { place: Place; end: End }>();
  #timer: NodeJS.Timeout | null = null;
  #tidying: Promise<void> | null = null;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** Begins to look after what is over and what could not be ended. */
  start(): void {
    this.#timer = setInterval(() => {
      this.#tidying ??= this.#tidy().finally(() => {
        this.#tidying = null;
      });
    }, TIDY_MS);
    this.#timer.unref();
  }

  /** Stops; what has not been ended is tried once more. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#tidying;
    await this.#endUnended();
  }

  /**
   * Claims a place for a request, or says why it cannot have it. The versions are those of the policy and the catalog that
   * entitled it. Throws `ledger_unavailable`; then the place is not claimed, or is forgotten as soon as that is possible.
   */
  async claim(place: Place, policyVersion: bigint, catalogVersion: bigint): Promise<Standing> {
    const { account, key, name, fingerprint, request } = place;
    const asked = this.#options.pool.query<Standing>({
      name: 'idempotency_claim',
      text: 'SELECT outcome, request, answer, size FROM idempotency_claim($1, $2, $3, $4, $5, $6, $7, $8, $9)',
      values: [
        account,
        key,
        name,
        fingerprint,
        request,
        this.#options.owner,
        policyVersion,
        catalogVersion,
        PIECE_BYTES,
      ],
    });
    try {
      return (await promptly(asked)).rows[0]!;
    } catch (error) {
      // It may be committed all the same, and only once the query has ended is it known not to be committed later.
      const forget = (): void => void this.end(place, 'forgotten');
      asked.then(forget, forget);
      throw error;
    }
  }

  /** The pieces of an answer, in order. Throws `ledger_unavailable`, or `AnswerDropped`. */
  async *pieces({ account, key, name }: Place, { request, answer, size }: KeptAnswer): AsyncGenerator<Buffer> {
    yield answer;
    for (let read = answer.length; read < size; ) {
      const asked = this.#options.pool.query<{ piece: Buffer | null }>({
        name: 'idempotency_piece',
        text: 'SELECT idempotency_piece($1, $2, $3, $4, $5, $6) AS piece',
        values: [account, key, name, request, read, PIECE_BYTES],
      });
      const { piece } = (await promptly(asked)).rows[0]!;
      if (piece === null) throw new AnswerDropped();
      read += piece.length;
      yield piece;
    }
  }

  /**
   * Ends the claim of a request. Resolves when the database has it, or after a short while: then that goes on by itself. An
   * answer that cannot be kept is lost, so that its request is not forwarded again. Never throws.
   */
  async end(place: Place, end: End, answer: Buffer | null = null): Promise<void> {
    const ended = this.#end(place, end, answer).catch((error) => {
      this.#options.log.warn({ err: error }, 'the claim on an idempotency key could not be ended; it is tried again');
      this.#remember(place, end === 'kept' ? 'lost' : end);
    });
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, end === 'forgotten' ? FORGET_MS : KEEP_MS);
    });
    await Promise.race([ended, enough]);
    clearTimeout(timer);
  }

  async #end({ account, key, name, request }: Place, end: End, answer: Buffer | null): Promise<void> {
    const { pool, roomBytes = ROOM_BYTES } = this.#options;
    await pool.query({
      name: 'idempotency_end',
      text: 'SELECT idempotency_end($1, $2, $3, $4, $5::smallint, $6, $7)',
      values: [account, key, name, request, STATES[end], answer, roomBytes],
    });
  }

  #remember(place: Place, end: End): void {
    if (this.#unended.size < UNENDED_MOST) this.#unended.set(place.request, { place, end });
  }

  async #tidy(): Promise<void> {
    await this.#endUnended();
    try {
      for (let calls = 0; calls < EXPIRE_MOST; calls++) {
        const { rows } = await this.#options.pool.query<{ deleted: number }>(
          'SELECT idempotency_expire($1) AS deleted',
          [EXPIRE_LIMIT],
        );
        if (rows[0]!.deleted < EXPIRE_LIMIT) return;
      }
    } catch (error) {
      this.#options.log.warn({ err: error }, 'idempotency keys that are over could not be deleted; tried again soon');
    }
  }

  /** One after the other, until one fails: the database is still away then. */
  async #endUnended(): Promise<void> {
    for (const [request, { place, end }] of this.#unended) {
      try {
        await this.#end(place, end, null);
      } catch {
        return;
      }
      this.#unended.delete(request);
    }
  }
}
