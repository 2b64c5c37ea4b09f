/**
 * A file of slots, one record each, whose space is all taken when it is made: a disk that fills up later stops no record.
 * Slots rather than a log, so that nothing is ever compacted or reset, and damage harms the one record it hits.
 *
 *   slot   empty ──put──▶ written ──synced──▶ durable ──clear──▶ empty
 *                           └──torn by a crash──▶ damaged: its checksum fails, and nobody was told that it was kept
 *
 * A slot: the length of the record (4 bytes), its CRC-32 (4 bytes, of the length and the record), the record. Both are 0
 * in an empty one. Clearing is not synced: a record that comes back after a crash is replayed once more, to no effect.
 */
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

/** A page of the disk, so that a write takes nothing else along. */
export const SLOT_BYTES = 4_096;
const HEAD_BYTES = 8;
const MAX_RECORD_BYTES = SLOT_BYTES - HEAD_BYTES;
/** Slots that are made or read in one go. */
const CHUNK_BYTES = 256 * SLOT_BYTES;
const EMPTY_HEAD = Buffer.alloc(HEAD_BYTES);

export class SlotFile {
  readonly path: string;
  readonly #slots: number;
  readonly #handle: FileHandle;
  readonly #inode: bigint;
  readonly #free: number[] = [];
  #fresh = 0;

  private constructor(path: string, slots: number, handle: FileHandle, inode: bigint) {
    this.path = path;
    this.#slots = slots;
    this.#handle = handle;
    this.#inode = inode;
  }

  /** Makes a file and takes its space on the disk. Throws what the system says where that fails; then no file is left. */
  static async create(path: string, slots: number): Promise<SlotFile> {
    const handle = await open(path, 'wx', 0o600);
    try {
      const zeros = Buffer.alloc(CHUNK_BYTES);
      for (let left = slots * SLOT_BYTES; left > 0; left -= CHUNK_BYTES) {
        await handle.writeFile(left < CHUNK_BYTES ? zeros.subarray(0, left) : zeros);
      }
      await handle.sync();
      await syncFolder(dirname(path));
      return new SlotFile(path, slots, handle, (await handle.stat({ bigint: true })).ino);
    } catch (error) {
      await handle.close();
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Writes records to free slots and waits until the disk has them. Returns the slots; throws when any was not kept. */
  async put(records: readonly Buffer[]): Promise<number[]> {
    const slots = records.map(() => this.#free.pop() ?? this.#fresh++);
    if (this.#fresh > this.#slots) throw new Error(`all ${this.#slots} slots of the journal are taken`);
    for (const [i, record] of records.entries()) {
      const slot = encodeSlot(record);
      const { bytesWritten } = await this.#handle.write(slot, 0, slot.length, slots[i]! * SLOT_BYTES);
      if (bytesWritten < slot.length) throw new Error('the disk took only a part of a journal record');
    }
    await this.#handle.datasync();
    return slots;
  }

  /** Empties a slot. It is free again only when that is written: no later than the record that comes next. */
  async clear(slot: number): Promise<void> {
    await this.#handle.write(EMPTY_HEAD, 0, HEAD_BYTES, slot * SLOT_BYTES);
    this.#free.push(slot);
  }

  /** Whether the file is where it was made: another process may have claimed it, taking this one for dead. */
  async isInPlace(): Promise<boolean> {
    const there = await stat(this.path, { bigint: true }).catch(() => null);
    return there?.ino === this.#inode;
  }

  /** A sign of life: the time of the last change is now. */
  async touch(nowMs: number): Promise<void> {
    await this.#handle.utimes(nowMs / 1000, nowMs / 1000);
  }

  /** Closes the file, once what is being written to it is. */
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** The records of a file, and how many slots are damaged. */
export async function readSlots(path: string): Promise<{ records: Buffer[]; damaged: number }> {
  const records: Buffer[] = [];
  let damaged = 0;
  const handle = await open(path, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; ; at += CHUNK_BYTES) {
      const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, at);
      for (let start = 0; start < bytesRead; start += SLOT_BYTES) {
        const record = decodeSlot(chunk.subarray(start, Math.min(start + SLOT_BYTES, bytesRead)));
        if (record === 'damaged') damaged++;
        else if (record !== null) records.push(record);
      }
      if (bytesRead < CHUNK_BYTES) return { records, damaged };
    }
  } finally {
    await handle.close();
  }
}

/** Makes durable which files are in a folder. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function encodeSlot(record: Buffer): Buffer {
  if (record.length > MAX_RECORD_BYTES) throw new RangeError(`a record of ${record.length} bytes does not fit a slot`);
  const slot = Buffer.alloc(HEAD_BYTES + record.length);
  slot.writeUInt32LE(record.length, 0);
  record.copy(slot, HEAD_BYTES);
  slot.writeUInt32LE(checksum(slot, record.length), 4);
  return slot;
}

/** The record in a slot; `null`: it is empty. */
function decodeSlot(slot: Buffer): Buffer | 'damaged' | null {
  if (slot.length < HEAD_BYTES) return 'damaged';
  if (slot.subarray(0, HEAD_BYTES).equals(EMPTY_HEAD)) return null;
  const length = slot.readUInt32LE(0);
  if (length > slot.length - HEAD_BYTES || checksum(slot, length) !== slot.readUInt32LE(4)) return 'damaged';
  return Buffer.from(slot.subarray(HEAD_BYTES, HEAD_BYTES + length));
}

function checksum(slot: Buffer, length: number): number {
  return crc32(slot.subarray(HEAD_BYTES, HEAD_BYTES + length), crc32(slot.subarray(0, 4)));
}
