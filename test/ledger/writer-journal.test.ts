/** What ends a hold reaches the disk when the database does not answer, and is charged once, exactly. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { decodeRecord } from '../../src/ledger/journal/record.ts';
import { readSlots } from '../../src/ledger/journal/slots.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { type JournalRig, openJournals, type TestGateway } from './journal-rig.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, settle, until } from './rig.ts';

const UNAVAILABLE = expect.objectContaining({ code: 'ledger_unavailable' });
/** Above the largest balance there may be. */
const POISON = 2_000_000_000_000_000_000n;

let ledger: LedgerRig;
let rig: JournalRig;
let gateway: TestGateway;
let account: bigint;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});
beforeEach(async () => {
  rig = await openJournals(ledger);
  gateway = await rig.gateway({ away: true });
  account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
});
afterEach(() => rig.close());

async function openHold(): Promise<Uuid> {
  const id = newId();
  await gateway.writer.hold(hold(account, id, 10n));
  return id;
}

const onDisk = async (): Promise<unknown[]> => {
  const name = await gateway.journal.fileName();
  return (await readSlots(`${gateway.journal.folder}/${name}`)).records.map(decodeRecord);
};
const kinds = async (): Promise<string[]> => (await ledger.entries(account)).map((entry) => entry[0]);

it('a settle that is answered touches no disk', async () => {
  const id = await openHold();
  await gateway.writer.settle(settle(account, id, 7n));
  expect(gateway.journal.waiting).toBe(0);
  expect(await onDisk()).toEqual([]);
});

describe('a settle and a release that nobody answers in time', () => {
  it('are on the disk when their callers hear of it, and leave it when they are answered', async () => {
    const [served, unserved] = [await openHold(), await openHold()];
    rig.cut();
    const [settled, released] = [settle(account, served, 7n), release(account, unserved)];
    const callers = [gateway.writer.settle(settled), gateway.writer.release(released)];
    for (const caller of callers) await expect(caller).rejects.toThrow(UNAVAILABLE);
    expect(await onDisk()).toEqual([settled, released]);
    expect(gateway.journal.waiting).toBe(2);
    rig.mend();
    await until('both are answered', () => gateway.journal.waiting === 0);
    await until('the slots are empty', async () => (await onDisk()).length === 0);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 993n, held: 0n });
    expect([gateway.writer.isLive(served), gateway.writer.isLive(unserved)]).toEqual([false, false]);
  });

  it('do not keep the writer from closing; then they stay on the disk', async () => {
    const id = await openHold();
    rig.cut();
    const caller = gateway.writer.settle(settle(account, id, 7n)).catch((error: Error) => error);
    await gateway.writer.close();
    expect(await caller).toEqual(UNAVAILABLE);
    await gateway.journal.close();
    expect(rig.files()).toEqual([expect.stringMatching(/^0-claimed-/)]);
  });
});

it('a gateway that ends with nothing to charge leaves no file', async () => {
  const id = await openHold();
  await gateway.writer.settle(settle(account, id, 7n));
  await gateway.exit();
  expect(rig.files()).toEqual([]);
});

it('no more holds are live than the journal has space for: the next is refused as overloaded', async () => {
  gateway = await rig.gateway({ slots: 2 });
  const [first] = [await openHold(), await openHold()];
  const overloaded = expect.objectContaining({ code: 'overloaded' });
  await expect(openHold()).rejects.toThrow(overloaded);
  await gateway.writer.settle(settle(account, first, 1n));
  await openHold();
  const refused = hold(account, newId(), 10_000n);
  await expect(gateway.writer.hold(refused)).rejects.toThrow(overloaded);
  expect((await ledger.wallet(account)).held).toBe(20n);
});

it('a hold that timed out is released from the disk, so that it is free also when this process dies', async () => {
  await openHold();
  rig.proxy.passes = 'statements';
  const id = newId();
  const asked = gateway.writer.hold(hold(account, id, 20n, { floor: 5n }));
  await expect(asked).rejects.toThrow(UNAVAILABLE);
  rig.cut();
  await until('its release is kept', () => gateway.journal.waiting === 1);
  expect(await onDisk()).toEqual([expect.objectContaining({ verb: 'release', id })]);
});

it('a hold that is in flight when its process ends is released from the disk: it may still be committed', async () => {
  await openHold();
  rig.proxy.passes = 'statements';
  const id = newId();
  await expect(gateway.writer.hold(hold(account, id, 20n, { floor: 5n }))).rejects.toThrow(UNAVAILABLE);
  await gateway.writer.close();
  expect(await onDisk()).toEqual([expect.objectContaining({ verb: 'release', id })]);
});

describe('a hold in its name that a gateway does not know', () => {
  async function stray(): Promise<Uuid> {
    const id = newId();
    await ledger.one(hold(account, id, 20n, { floor: 5n }), 0, gateway.owner);
    return id;
  }

  it('whose release is not answered when its process ends is released from the disk', async () => {
    const id = await stray();
    rig.cut();
    await expect(gateway.writer.release(release(account, id))).rejects.toThrow(UNAVAILABLE);
    expect(await onDisk()).toEqual([]); // While the process lives it looks for strays again.
    await gateway.writer.close();
    expect(await onDisk()).toEqual([release(account, id)]);
  });

  it('whose release is asked for as its process ends is released from the disk, too', async () => {
    const id = await stray();
    await gateway.writer.close();
    rig.cut();
    await expect(gateway.writer.release(release(account, id))).rejects.toThrow(UNAVAILABLE);
    expect(await onDisk()).toEqual([release(account, id)]);
  });
});

it('what is asked of a writer while its last records are written is answered, or refused, as well', async () => {
  await openHold();
  rig.proxy.passes = 'statements';
  await expect(gateway.writer.hold(hold(account, newId(), 20n))).rejects.toThrow(UNAVAILABLE);
  const written = Promise.withResolvers<void>();
  const append = gateway.journal.append.bind(gateway.journal);
  const slowly = vi.spyOn(gateway.journal, 'append').mockImplementationOnce(async (operation) => {
    await written.promise;
    return append(operation);
  });
  const closed = gateway.writer.close();
  await until('the last records are being written', () => slowly.mock.calls.length === 1);
  const asked = gateway.writer.release(release(account, newId()));
  written.resolve();
  await closed;
  await expect(asked).rejects.toThrow(UNAVAILABLE);
});

describe('a settle that the database refuses', () => {
  it('is kept for a person to look at, its hold live', async () => {
    const id = await openHold();
    await expect(gateway.writer.settle(settle(account, id, POISON))).rejects.toMatchObject({ code: 'internal_error' });
    expect(rig.refused()).toEqual([`${id}.json`]);
    expect(gateway.journal.waiting).toBe(0);
    expect(gateway.writer.isLive(id)).toBe(true);
  });

  it('after it went to the journal moves from there', async () => {
    const id = await openHold();
    rig.cut();
    await expect(gateway.writer.settle(settle(account, id, POISON))).rejects.toThrow(UNAVAILABLE);
    rig.mend();
    await until('it is kept apart', () => rig.refused().length === 1 && gateway.journal.waiting === 0);
    await until('the slots are empty', async () => (await onDisk()).length === 0);
  });
});

describe('a release of a hold that others ended as orphaned', () => {
  it('gives back what they charged', async () => {
    const id = newId();
    await gateway.writer.hold(hold(account, id, 10n, { floor: 6n }));
    await ledger.recover(account, id);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 994n });
    expect(await gateway.writer.release(release(account, id))).toMatchObject({ outcome: 'late', amount: 0n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n, held: 0n });
    expect(await kinds()).toEqual(['grant', 'recovered', 'late']);
  });

  it('moves nothing where the hold was settled', async () => {
    const id = await openHold();
    await gateway.writer.settle(settle(account, id, 7n));
    expect((await gateway.writer.release(release(account, id))).outcome).toBe('exists_with_different_amount');
    expect(await kinds()).toEqual(['grant', 'charge']);
  });
});
