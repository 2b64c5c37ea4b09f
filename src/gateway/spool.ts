/**
 * Bodies on the disk: files without a name in the data folder, so that nothing of them outlives this process, and an account of
 * how much all bodies together take, in memory or on the disk.
 *
 *   room taken as bytes come ──▶ held by a body ──body closed──▶ given back        none left ──▶ overloaded
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

  /** Takes room for so many bytes. Throws `overloaded` where all bodies together would take more than they may. */
  take(bytes: number): void {
    if (this.#used + bytes > this.#mostBytes) {
      throw new TollgateError('overloaded', { cause: `the bodies that are being served take ${this.#used} bytes` });
    }
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
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
