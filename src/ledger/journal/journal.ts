/**
 * Settles and releases that the database did not answer, on the disk of this process until it does.
 *
 *   (writer) ──append──▶ gathered ──one write, one sync──▶ kept ──answered──▶ forgotten
 *                           │                               └──process gone──▶ replayed by another: takeover.ts
 *                           └──the disk failed, three times──▶ not kept: logged; the writer tries on from memory
 *
 *   file   none ──open──▶ ours ──another process claimed it, or the disk failed──▶ none ──next append or beat──▶ ours, anew
 *
 * One file a process, its space taken when it is made. There is always a slot for a record, since the writer takes no more
 * holds than there are slots. Whoever claims a file renames it first and reads it then, and we look for our name after we
 * wrote: so either the claimer reads the record, or we see that the file is gone and write it again elsewhere.
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';
import { claimedName, FOLDER, journalName, NOBODY } from './names.ts';
import { type Ending, encodeRecord } from './record.ts';
import { keepRefused } from './refused.ts';
import { SLOT_BYTES, SlotFile } from './slots.ts';

/** Files that are tried before records are given up. */
const TRIES = 3;

export interface JournalOptions {
  dataDir: string;
  owner: bigint;
  /** The size of its file, in bytes. */
  bytes: number;
  clock: Clock;
  log: Logger;
}

/** A record on the disk, or one that the disk did not take: then `forget` does nothing. */
export interface Kept {
  /** The operation was answered: the record is needed no more. */
  forget(): void;
}

const NOT_KEPT: Kept = { forget: () => {} };

interface Appended {
  record: Buffer;
  resolve: (kept: Kept) => void;
}

export class Journal {
  /** Where the journals of all processes on this data folder are. */
  readonly folder: string;
  readonly #options: JournalOptions;
  readonly #slots: number;
  #file: Promise<SlotFile> | null = null;
  #files = 0;
  #gathered: Appended[] = [];
  #writing: Promise<void> | null = null;
  #kept = 0;

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.folder = join(options.dataDir, FOLDER);
    this.#slots = Math.floor(options.bytes / SLOT_BYTES);
  }

  /** Takes the space for the journal. Throws, with what to do, when the disk does not have it. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    try {
      await mkdir(journal.folder, { recursive: true, mode: 0o700 });
      await journal.#ours();
    } catch (cause) {
      throw new Error(
        `The settlement journal needs ${options.bytes} bytes in ${journal.folder} (${(cause as Error).message}). ` +
          'Make room there, or set ledger.journal_bytes lower.',
        { cause },
      );
    }
    return journal;
  }

  /** How many records there is space for; 0 while there is no file. */
  get capacity(): number {
    return this.#file === null ? 0 : this.#slots;
  }

  /** Records that wait for the database. */
  get waiting(): number {
    return this.#kept;
  }

  /** Keeps an operation. Resolves once the disk has it, or could not take it, which is logged; never throws. */
  append(operation: Ending): Promise<Kept> {
    return new Promise<Kept>((resolve) => {
      this.#gathered.push({ record: encodeRecord(operation), resolve });
      this.#writing ??= this.#write();
    }).catch((error: unknown) => {
      this.#options.log.error({ err: error, hold: operation.id }, 'a settlement is too large for the journal');
      return NOT_KEPT;
    });
  }

  /** Keeps an operation that the ledger refused, for a person to look at. Resolves once the disk has it, as `append`. */
  async refuse(operation: Ending): Promise<void> {
    // First where there is space for certain: a full disk takes no new file.
    const kept = await this.append(operation);
    try {
      await keepRefused(this.folder, operation.id, encodeRecord(operation));
      kept.forget();
    } catch (error) {
      this.#options.log.error({ err: error, hold: operation.id }, 'a refused operation stays in the journal');
    }
  }

  /** A sign of life, so that no other process claims the file; a file that was claimed all the same is replaced. */
  async beat(): Promise<void> {
    try {
      const file = await this.#ours();
      await file.touch(this.#options.clock.now());
      if (!(await file.isInPlace())) await this.#leave(file);
      await this.#ours();
    } catch (error) {
      this.#options.log.error({ err: error }, 'the journal has no file: new requests are refused until it has');
    }
  }

  /** Ends the file: deleted when it is empty, else left to whoever comes next. Call it once the writer is closed. */
  async close(): Promise<void> {
    await this.#writing;
    const file = await this.#file?.catch(() => null);
    if (!file) return;
    await file.close();
    if (this.#kept === 0) return rm(file.path, { force: true });
    this.#options.log.warn(
      { records: this.#kept },
      'the next gateway on this data folder charges what is in the journal',
    );
    // Gone, if another process has claimed it: then that one charges it.
    await rename(file.path, join(this.folder, claimedName(NOBODY, basename(file.path)))).catch(() => {});
  }

  /** The name of the file in use, as its folder shows it. */
  async fileName(): Promise<string | null> {
    const file = await this.#file?.catch(() => null);
    return file ? basename(file.path) : null;
  }

  /** The file in use, made where there is none. */
  #ours(): Promise<SlotFile> {
    if (this.#file === null) {
      const path = join(this.folder, journalName(this.#options.owner, this.#files++));
      const file = SlotFile.create(path, this.#slots);
      file.catch(() => {
        this.#file = null;
      });
      this.#file = file;
    }
    return this.#file;
  }

  /** Uses a file no more. What is in it is replayed by whoever claimed it, or claims it now that it shows no life. */
  async #leave(file: SlotFile): Promise<void> {
    this.#file = null;
    this.#options.log.warn({ file: basename(file.path) }, 'this journal is left to others; going on in a new one');
    await file.close().catch(() => {});
  }

  /** Writes what has gathered, in groups that share a sync, until nothing has. */
  async #write(): Promise<void> {
    while (this.#gathered.length > 0) {
      const group = this.#gathered;
      this.#gathered = [];
      const kept = await this.#keep(group.map(({ record }) => record));
      for (const [i, { resolve }] of group.entries()) resolve(kept?.[i] ?? NOT_KEPT);
    }
    this.#writing = null;
  }

  /** `null`: the disk took them nowhere. */
  async #keep(records: readonly Buffer[]): Promise<Kept[] | null> {
    const { log } = this.#options;
    for (let tries = 0; tries < TRIES; tries++) {
      let file: SlotFile | null = null;
      try {
        file = await this.#ours();
        const slots = await file.put(records);
        if (await file.isInPlace()) return slots.map((slot) => this.#keptIn(file!, slot));
      } catch (error) {
        log.error({ err: error, records: records.length }, 'the journal could not be written');
      }
      if (file !== null && (await this.#file?.catch(() => null)) === file) await this.#leave(file);
    }
    log.error({ records: records.length }, 'settlements are kept in memory alone: the disk does not take them');
    return null;
  }

  #keptIn(file: SlotFile, slot: number): Kept {
    this.#kept++;
    return {
      forget: () => {
        this.#kept--;
        // A file that was left, or fails: its record is replayed once more, to no effect.
        file.clear(slot).catch(() => {});
      },
    };
  }
}
