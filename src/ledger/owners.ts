/**
 * The lease of this gateway, and the sweep of those that died. By the database's clock a lease lasts 15 s and is renewed
 * every 5 s; whoever sweeps ends the holds of owners whose lease ran out.
 *
 *            beat ok                        beat fails
 *   ┌──▶ leased ─────────────────────────────────────────▶ cut off
 *   │      │ sweeps others once it was leased               │ beat ok
 *   │      │ for a whole lease without a break              ▼
 *   └──────┴────────────────────────────────────────── waiting (15 s, sweeps nobody)
 *
 * The wait is what keeps live streams alive: after an outage every lease looks expired, and each gateway needs the time
 * to say that it lives.
 */
import type { Pool } from 'pg';
import type { Clock } from '../lib/clock.ts';
import type { Uuid } from '../lib/ids.ts';
import type { Logger } from '../observe/log.ts';
import type { DedicatedConnection } from './connection.ts';
import type { LedgerWriter } from './writer.ts';

const BEAT_MS = 5_000;
/** After a beat that failed: what holds up every new request is tried again sooner. */
const RETRY_MS = 750;
const LEASE_MS = 15_000;
/** Holds ended in one statement, so that it holds no lock for long. */
const SWEEP_LIMIT = 500;
/** Accounts brought to now in one statement. */
const EXPIRE_LIMIT = 20;
/** Statements of one sweep: what is left then waits for the next beat. */
const SWEEP_MOST = 100;
/** A committed hold that this process does not know of for this long is stray. */
const STRAY_AFTER = '5 seconds';
/** Holds that are looked at in one statement; all of this gateway's are, page by page. */
const STRAY_PAGE = 1_000;
/** Before every id. */
const FIRST_ID: Uuid = '00000000-0000-0000-0000-000000000000';

/** What a long stream has used so far: its charge, should this process die. */
export interface Metered {
  account: bigint;
  id: Uuid;
  /** Nano-credits. */
  amount: bigint;
}

export interface OwnerOptions {
  pool: Pool;
  /** The heartbeat's own: it must not wait behind what uses the pool. */
  heart: DedicatedConnection;
  owner: bigint;
  writer: LedgerWriter;
  clock: Clock;
  log: Logger;
  /** The long streams of this process. */
  metered: () => Metered[];
}

export class Owner {
  readonly #options: OwnerOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;
  #running: Promise<void>[] = [];
  /** Strays whose release is under way: they are not asked for again. */
  readonly #releasing = new Set<Uuid>();
  /** When the lease began that has not been broken since, and when it was last renewed; by this process's clock. */
  #leasedSince: number | null = null;
  #renewedAt = 0;

  constructor(options: OwnerOptions) {
    this.#options = options;
  }

  /** Whether this gateway may take holds: others end the holds of one whose lease ran out. */
  get isLeased(): boolean {
    return this.#options.clock.now() - this.#renewedAt < LEASE_MS;
  }

  /** Takes the lease: before the first hold. Throws when the database does not answer. */
  async start(): Promise<void> {
    await this.#renew();
    this.#leasedSince = this.#options.clock.now();
    // Apart from one another: a sweep that takes long must not keep the heart from beating.
    this.#repeat(() => this.#onBeat());
    this.#repeat(() => this.#tidy());
  }

  /** Ends the beat. The lease is left to run out unless no hold remains. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#running);
    const { heart, owner, log } = this.#options;
    const giveUp = 'DELETE FROM owners o WHERE owner = $1 AND NOT EXISTS (SELECT FROM holds h WHERE h.owner = o.owner)';
    await heart
      .run((client) => client.query(giveUp, [owner]))
      .catch((error) => log.warn({ err: error }, 'the lease could not be given up; it will run out'));
  }

  /** Runs `work` again and again, never twice at once, each time after as long as it says. */
  #repeat(work: () => Promise<number>, afterMs = BEAT_MS): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const run = work().then((nextMs) => {
        this.#running = this.#running.filter((other) => other !== run);
        if (!this.#stopped) this.#repeat(work, nextMs);
      });
      this.#running.push(run);
    }, afterMs);
    this.#timers.add(timer);
  }

  async #onBeat(): Promise<number> {
    const { clock, log } = this.#options;
    try {
      await this.#renew();
      this.#leasedSince ??= clock.now();
      return BEAT_MS;
    } catch (error) {
      if (this.#leasedSince !== null) {
        log.warn(
          { err: error },
          'the heartbeat failed; streams go on, and nobody is swept until a whole lease has passed',
        );
      }
      this.#leasedSince = null;
      return RETRY_MS;
    }
  }

  async #tidy(): Promise<number> {
    const { clock, log, pool, owner } = this.#options;
    if (this.#leasedSince === null) return BEAT_MS;
    try {
      await this.#releaseStrays();
      if (this.#leasedSince === null || clock.now() - this.#leasedSince < LEASE_MS) return BEAT_MS;
      const ended = await sweep(pool, owner);
      if (ended > 0) log.warn({ holds: ended }, 'ended holds of gateways that died');
      await bringToNow(pool);
    } catch (error) {
      log.warn({ err: error }, 'stray and orphaned holds could not be looked for; the next beat will');
    }
    return BEAT_MS;
  }

  async #renew(): Promise<void> {
    const { heart, owner, clock } = this.#options;
    const metered = this.#options.metered();
    const asked = clock.now();
    const values = [owner, metered.map((m) => m.account), metered.map((m) => m.id), metered.map((m) => m.amount)];
    await heart.run((client) =>
      client.query('SELECT ledger_heartbeat($1, $2::bigint[], $3::uuid[], $4::bigint[])', values),
    );
    this.#renewedAt = asked;
  }

  /** Releases holds in this gateway's name that it does not work on: calls that timed out here and committed there. */
  async #releaseStrays(): Promise<void> {
    const { pool, owner, writer, log } = this.#options;
    let last = { account_id: 0n, id: FIRST_ID };
    for (;;) {
      const { rows } = await pool.query<StrayRow>(
        `SELECT account_id, id, frozen FROM holds
          WHERE owner = $1 AND opened_at < clock_timestamp() - $2::interval AND (account_id, id) > ($3, $4)
          ORDER BY account_id, id LIMIT $5`,
        [owner, STRAY_AFTER, last.account_id, last.id, STRAY_PAGE],
      );
      const strays = rows.filter((row) => !writer.isLive(row.id) && !this.#releasing.has(row.id));
      if (strays.length > 0) log.warn({ holds: strays.map(({ id }) => id) }, 'releasing stray holds');
      await Promise.all(
        strays.map(({ account_id: account, id, frozen }) => {
          this.#releasing.add(id);
          const released = writer.release({ verb: 'release', account, id, receipt: frozen });
          return released.finally(() => this.#releasing.delete(id));
        }),
      );
      if (rows.length < STRAY_PAGE) return;
      last = rows.at(-1)!;
    }
  }
}

interface StrayRow {
  account_id: bigint;
  id: Uuid;
  frozen: Buffer;
}

/**
 * Brings accounts to now that nobody uses, a few in a transaction: whoever uses one waits for all of them. As many as are due
 * now: one that is broken, or whose lot waits for a hold, stays due and is looked at again by the next beat.
 */
async function bringToNow(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ due: number }>(
    `SELECT count(*)::integer AS due
       FROM (SELECT FROM wallets WHERE next_change_at <= clock_timestamp() LIMIT $1) t`,
    [SWEEP_MOST * EXPIRE_LIMIT],
  );
  for (let left = rows[0]!.due; left > 0; left -= EXPIRE_LIMIT) {
    await pool.query('SELECT ledger_expire_due($1)', [EXPIRE_LIMIT]);
  }
}

/** Ends the holds of gateways whose lease ran out, one gateway in a transaction. Returns how many. */
export async function sweep(pool: Pool, sweeper: bigint): Promise<number> {
  let total = 0;
  for (let calls = 0; calls < SWEEP_MOST; calls++) {
    const { rows } = await pool.query<{ ended: number }>('SELECT ledger_sweep($1, $2) AS ended', [
      SWEEP_LIMIT,
      sweeper,
    ]);
    if (rows[0]!.ended === 0) break;
    total += rows[0]!.ended;
  }
  return total;
}

/** Ends every hold of an owner that is known to be dead: a former self of this data folder. Returns how many. */
export async function endOwner(pool: Pool, owner: bigint): Promise<number> {
  let total = 0;
  for (;;) {
    const { rows } = await pool.query<{ ended: number }>('SELECT ledger_end_owner($1, $2) AS ended', [
      owner,
      SWEEP_LIMIT,
    ]);
    total += rows[0]!.ended;
    if (rows[0]!.ended < SWEEP_LIMIT) return total;
  }
}
