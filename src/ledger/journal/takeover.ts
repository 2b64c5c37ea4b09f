/**
 * Charges what other processes left in their journals: those that are certainly gone, or have shown no life for a minute.
 *
 *   (others' file) ──ours by rename──▶ claimed ──every record answered──▶ deleted
 *                                         │ refused by the ledger, or unreadable: kept in a file of its own first
 *                                         └──we stop──▶ nobody's again; we die: claimed by the same rule
 *
 * A record is an ordinary settle or release, so that one that is replayed twice, or also by a writer that was only
 * stopped for a while, moves nothing; a hold that was recovered meanwhile gets its one `late` transfer.
 */
import { readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';
import type { Result } from '../outcomes.ts';
import type { Journal } from './journal.ts';
import { claimedName, NOBODY, parseName } from './names.ts';
import { decodeRecord, type Ending, isBooked } from './record.ts';
import { forgetRefused, keepRefused, readRefused, refusedNames } from './refused.ts';
import { readSlots } from './slots.ts';

const BEAT_MS = 5_000;
/** A file that has not changed for this long, as seen from here, has lost its process: that would touch it every beat. */
const STILL_MS = 60_000;
/** Records in the writer at once: a batch, so that what runs is not kept waiting by what is past. */
const AT_ONCE = 200;
/** How long a start waits for the records to be charged before it goes on beside them. */
const START_MS = 5_000;

export interface TakeoverOptions {
  journal: Journal;
  owner: bigint;
  clock: Clock;
  log: Logger;
  /** Owners on this data folder that are certainly dead. */
  gone: () => readonly bigint[];
  /** Whether the database answers. */
  answers: () => boolean;
  /** Applies a record. Rejects when the database refuses it. */
  replay: (operation: Ending) => Promise<Result>;
}

/** The file that is being replayed. */
interface Claimed {
  path: string;
  /** What it was made as. */
  origin: string;
  /** Records that are not answered yet. */
  left: number;
}

export class Takeover {
  readonly #options: TakeoverOptions;
  readonly #folder: string;
  /** When each file of another was first seen as it is now. */
  #seen = new Map<string, { changedMs: number; sinceMs: number }>();
  #claimed: Claimed | null = null;
  #passing = false;
  #stopped = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: TakeoverOptions) {
    this.#options = options;
    this.#folder = options.journal.folder;
  }

  /** Records of others that wait for the database. */
  get waiting(): number {
    return this.#claimed?.left ?? 0;
  }

  /** Charges what is there, for which it waits a few seconds at most, and looks again with every beat. */
  async start(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, START_MS);
    });
    await Promise.race([this.pass().then(() => this.#retryRefused()), enough]);
    clearTimeout(timer);
    this.#timer = setInterval(() => void this.beat(), BEAT_MS);
  }

  /** Shows that this process lives and, while the database answers, takes over what is left of others. Never throws. */
  async beat(): Promise<void> {
    const now = this.#options.clock.now() / 1000;
    await this.#options.journal.beat();
    // Gone, if another process took us for dead and claimed it in turn: it is charged by both, once.
    if (this.#claimed !== null) await utimes(this.#claimed.path, now, now).catch(() => {});
    if (this.#options.answers()) await this.pass();
  }

  /** Takes over every file that has lost its process, one after the other. Never throws, never runs twice at once. */
  async pass(): Promise<void> {
    if (this.#passing || this.#stopped) return;
    this.#passing = true;
    try {
      for (const name of await this.#abandoned()) {
        if (!this.#stopped) await this.#takeOver(name);
      }
    } catch (error) {
      this.#options.log.error(
        { err: error },
        'the journals of other gateways could not be looked at; the next beat will',
      );
    } finally {
      this.#passing = false;
    }
  }

  /** Looks no more. A file that is being replayed is given up as it is: another process begins again with it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#giveUp();
  }

  /** The names of the files that nobody works on. */
  async #abandoned(): Promise<string[]> {
    const { journal, clock, gone } = this.#options;
    const ours = await journal.fileName();
    const names = (await readdir(this.#folder)).filter((name) => name !== ours && parseName(name) !== null);
    if (names.length === 0) return [];
    const dead = new Set([NOBODY, ...gone()]);
    const now = clock.now();
    const before = this.#seen;
    this.#seen = new Map();
    const abandoned: string[] = [];
    for (const name of names) {
      const changedMs = (await stat(join(this.#folder, name)).catch(() => null))?.mtimeMs;
      if (changedMs === undefined) continue;
      const known = before.get(name);
      // By our clock from when we first saw it, not by the file's time: that may be another machine's.
      const seen = known?.changedMs === changedMs ? known : { changedMs, sinceMs: now };
      this.#seen.set(name, seen);
      if (dead.has(parseName(name)!.holder) || now - seen.sinceMs >= STILL_MS) abandoned.push(name);
    }
    return abandoned;
  }

  async #takeOver(name: string): Promise<void> {
    const { origin } = parseName(name)!;
    const path = join(this.#folder, claimedName(this.#options.owner, origin));
    try {
      await rename(join(this.#folder, name), path);
    } catch {
      return; // Another claimer was first, or it was its writer that ended.
    }
    this.#claimed = { path, origin, left: 0 };
    try {
      await this.#replayAll(this.#claimed);
      // Given up by now, if we stopped: then it has another name.
      await rm(path, { force: true });
      this.#claimed = null;
    } catch (error) {
      this.#options.log.error(
        { err: error, file: name },
        'a journal could not be charged whole; the next beat tries again',
      );
      await this.#giveUp();
    }
  }

  async #replayAll(claimed: Claimed): Promise<void> {
    const { log } = this.#options;
    const { path, origin } = claimed;
    const { records, damaged } = await readSlots(path);
    if (damaged > 0) log.warn({ file: origin, damaged }, 'a journal has records that were torn when its gateway died');
    claimed.left = records.length;
    for (let at = 0; at < records.length; at += AT_ONCE) {
      if (this.#stopped) return this.#giveUp();
      const batch = records.slice(at, at + AT_ONCE);
      await Promise.all(batch.map((record, i) => this.#replay(record, `${origin}-${at + i}`)));
      claimed.left -= batch.length;
    }
    if (records.length > 0)
      log.warn({ file: origin, records: records.length }, 'charged what a gateway left in its journal');
  }

  /** Throws only when a record that is refused cannot be kept: then its file must stay. */
  async #replay(record: Buffer, name: string): Promise<void> {
    try {
      await this.#apply(record);
    } catch (error) {
      this.#options.log.error(
        { err: error, record: name },
        'a journal record cannot be charged; it is kept as refused',
      );
      await keepRefused(this.#folder, name, record);
    }
  }

  /** Throws when the ledger has not what the record says afterwards: another database on this folder, for one. */
  async #apply(record: Buffer): Promise<void> {
    const operation = decodeRecord(record);
    const { outcome } = await this.#options.replay(operation);
    if (!isBooked(operation, outcome)) throw new Error(`the ledger answered ${outcome} to a ${operation.verb}`);
  }

  async #giveUp(): Promise<void> {
    if (this.#claimed === null) return;
    const { path, origin } = this.#claimed;
    this.#claimed = null;
    await rename(path, join(this.#folder, claimedName(NOBODY, origin))).catch(() => {});
  }

  async #retryRefused(): Promise<void> {
    for (const name of await refusedNames(this.#folder)) {
      try {
        await this.#apply(await readRefused(this.#folder, name));
        await forgetRefused(this.#folder, name);
      } catch (error) {
        this.#options.log.error({ err: error, record: name }, 'a record that was refused still cannot be charged');
      }
    }
  }
}
