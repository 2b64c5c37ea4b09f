/**
 * Bodies on the disk: files without a name in the data folder, so that nothing of them outlives this process, and a count of
 * how much all bodies take, in memory or on the disk: together, and of each account. An account takes no more than is left free then, so
 * half of it where it is alone, and none keeps the others out.
 *
 *   room taken as bytes come ──▶ held by a body ──body closed──▶ given back        too little left ──▶ overloaded
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { TollgateError } from '../errors.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { uuidv7 } from '../lib/ids.ts';

/** Below the data folder. */
const FOLDER = 'tmp';
const PREFIX = 'upload-';
const OWNER_ONLY = 0o600;

export interface SpoolOptions {
  dataDir: string;
  /** How many bytes all bodies of this process may take together. */
  mostBytes: number;
  clock?: Clock;
}

export class Spool {
  readonly #folder: string;
  readonly #mostBytes: number;
  readonly #clock: Clock;
  #used = 0;
  /** By account; of those alone that hold some. */
  readonly #usedBy = new Map<bigint, number>();

  /** Removes what a process left that died between making a file and taking its name away; others have no names left. */
  constructor({ dataDir, mostBytes, clock = systemClock }: SpoolOptions) {
    this.#folder = join(dataDir, FOLDER);
    this.#mostBytes = mostBytes;
    this.#clock = clock;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#folder)) {
      if (name.startsWith(PREFIX)) rmSync(join(this.#folder, name), { force: true });
    }
  }

  /** How many bytes are held now. */
  get used(): number {
    return this.#used;
  }

  /** Takes room for so many bytes of an account's body. Throws `overloaded` where less would be left than the account has. */
  take(account: bigint, bytes: number): void {
    const own = (this.#usedBy.get(account) ?? 0) + bytes;
    const all = this.#used + bytes;
    if (own > this.#mostBytes - all) {
      const cause = `the bodies that are being served take ${this.#used} bytes, ${own - bytes} of them the account's`;
      throw new TollgateError('overloaded', { cause });
    }
    this.#used = all;
    this.#usedBy.set(account, own);
  }

  give(account: bigint, bytes: number): void {
    this.#used -= bytes;
    const own = this.#usedBy.get(account)! - bytes;
    if (own === 0) this.#usedBy.delete(account);
    else this.#usedBy.set(account, own);
  }

  /** A new file that nobody else can open: it is gone when it is closed, or when this process dies. Throws `overloaded`. */
  async file(): Promise<FileHandle> {
    const path = join(this.#folder, PREFIX + uuidv7(this.#clock));
    try {
      const file = await open(path, 'wx+', OWNER_ONLY);
      await unlink(path);
      return file;
    } catch (cause) {
      throw new TollgateError('overloaded', { cause });
    }
  }
}
