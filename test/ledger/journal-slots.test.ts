/** The journal's file: what the disk has is read back, whatever else was torn, flipped or cut off. JOURNAL_SEED=… replays. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { decodeRecord, encodeRecord, MAX_RECEIPT_BYTES } from '../../src/ledger/journal/record.ts';
import { readSlots, SLOT_BYTES, SlotFile } from '../../src/ledger/journal/slots.ts';

const SEED = Number(process.env.JOURNAL_SEED ?? Date.now() % 2 ** 31);

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-slots-'));
  path = join(folder, 'test.journal');
});
afterEach(() => rmSync(folder, { recursive: true }));

const text = (records: Buffer[]): string[] => records.map((record) => record.toString());

it('takes all its space when it is made, and is read back empty', async () => {
  const file = await SlotFile.create(path, 300);
  expect(statSync(path).size).toBe(300 * SLOT_BYTES);
  expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(300 * SLOT_BYTES);
  expect(await readSlots(path)).toEqual({ records: [], damaged: 0 });
  await file.close();
});

it('gives back what was put, in any chunk, but not what was cleared; a cleared slot is used again', async () => {
  const file = await SlotFile.create(path, 600);
  const slots = await file.put(Array.from({ length: 600 }, (_, i) => Buffer.from(`record ${i}`)));
  await file.clear(slots[3]!);
  const { records } = await readSlots(path);
  expect(records).toHaveLength(599);
  expect(text(records)).not.toContain('record 3');
  expect(await file.put([Buffer.from('another')])).toEqual([slots[3]]);
  expect(text((await readSlots(path)).records)).toContain('another');
  await expect(file.put([Buffer.from('one too many')])).rejects.toThrow('all 600 slots');
  await file.close();
});

it('notices when it is no longer where it was made', async () => {
  const file = await SlotFile.create(path, 1);
  expect(await file.isInPlace()).toBe(true);
  rmSync(path);
  expect(await file.isInPlace()).toBe(false);
  writeFileSync(path, '');
  expect(await file.isInPlace(), 'another file of that name').toBe(false);
  await file.close();
});

it('refuses to be made where a file is', async () => {
  writeFileSync(path, 'whose?');
  await expect(SlotFile.create(path, 1)).rejects.toThrow('EEXIST');
  expect(readFileSync(path, 'utf8')).toBe('whose?');
});

/** What happens to a file: bytes that change, or an end that is missing. */
const damages = fc.array(
  fc.oneof(
    fc.record({ at: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 2 * SLOT_BYTES }) }),
    fc.record({ at: fc.nat(), flip: fc.integer({ min: 1, max: 255 }) }),
    fc.record({ end: fc.nat() }),
  ),
  { minLength: 1, maxLength: 4 },
);

it('after any damage gives back each record that it did not hit, and none that was not put', async () => {
  console.log(`journal-slots: JOURNAL_SEED=${SEED}`);
  const slots = 12;
  const file = await SlotFile.create(path, slots);
  const record = (i: number): string => `record ${i} `.repeat(1 + i * 30);
  const put = Array.from({ length: 9 }, (_, i) => record(i));
  const at = await file.put(put.map((one) => Buffer.from(one)));
  await file.clear(at[2]!);
  await file.close();
  const whole = readFileSync(path);
  await fc.assert(
    fc.asyncProperty(damages, async (all) => {
      let bytes = Buffer.from(whole);
      const hit = new Set<number>();
      for (const damage of all) {
        if (bytes.length === 0) break;
        if ('end' in damage) {
          bytes = bytes.subarray(0, damage.end % bytes.length);
          for (let slot = Math.floor(bytes.length / SLOT_BYTES); slot < slots; slot++) hit.add(slot);
          continue;
        }
        const start = damage.at % bytes.length;
        const changed = 'flip' in damage ? Buffer.from([bytes[start]! ^ damage.flip]) : Buffer.from(damage.bytes);
        const length = changed.copy(bytes, start);
        for (let byte = start; byte < start + length; byte++) hit.add(Math.floor(byte / SLOT_BYTES));
      }
      writeFileSync(path, bytes);
      const read = text((await readSlots(path)).records);
      const expected = put.filter((_, i) => i !== 2);
      for (const one of read) expect(expected).toContain(one);
      for (const [i, one] of put.entries()) if (i !== 2 && !hit.has(at[i]!)) expect(read).toContain(one);
    }),
    { seed: SEED, numRuns: 300 },
  );
});

it('has space in a slot for the longest receipt with the longest of all else', async () => {
  const operation = {
    verb: 'settle' as const,
    account: 2n ** 63n - 1n,
    id: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    amount: 10n ** 18n,
    receipt: Buffer.alloc(MAX_RECEIPT_BYTES, 0xff),
  };
  const file = await SlotFile.create(path, 1);
  await file.put([encodeRecord(operation)]);
  await file.close();
  expect(decodeRecord((await readSlots(path)).records[0]!)).toEqual(operation);
  const receipt = Buffer.alloc(MAX_RECEIPT_BYTES + 1);
  expect(() => encodeRecord({ ...operation, receipt })).toThrow(RangeError);
});

it('refuses to read a record of another release', () => {
  for (const rest of ['', '\nreceipt']) {
    expect(() => decodeRecord(Buffer.from(`{"v":1,"verb":"settle"}${rest}`))).toThrow('version 1');
  }
});
