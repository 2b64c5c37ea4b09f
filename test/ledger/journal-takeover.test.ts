/** What a gateway leaves in its journal is charged by another: once, exactly, whoever else tries, and whoever dies. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeRecord } from '../../src/ledger/journal/record.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { type JournalRig, openJournals, type TestGateway } from './journal-rig.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, settle, until } from './rig.ts';

const MINUTE_MS = 60_000;
const UNAVAILABLE = expect.objectContaining({ code: 'ledger_unavailable' });
/** Above the largest balance there may be. */
const POISON = 2_000_000_000_000_000_000n;

let ledger: LedgerRig;
let rig: JournalRig;
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
  account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
});
afterEach(() => rig.close());

/** A gateway with this many settles of 7, of holds of 10 with a floor of 4, in its journal alone. */
async function withRecords(count: number, amount = 7n): Promise<{ gateway: TestGateway; ids: Uuid[] }> {
  rig.mend();
  const gateway = await rig.gateway({ away: true });
  const ids = Array.from({ length: count }, newId);
  for (const id of ids) await holdAt(gateway, id, 4n);
  rig.cut();
  await journalAll(gateway, ids, amount);
  return { gateway, ids };
}

/** Holds 10. A hold connects where that is still to be done, which on a busy machine takes longer than a hold waits. */
function holdAt({ writer }: TestGateway, id: Uuid, floor = 0n): Promise<void> {
  const taken = (): Promise<boolean> =>
    writer.hold(hold(account, id, 10n, { floor })).then(
      () => true,
      () => false,
    );
  return until('the ledger takes a hold', taken);
}

async function journalAll(gateway: TestGateway, ids: Uuid[], amount = 7n): Promise<void> {
  const callers = ids.map((id) => gateway.writer.settle(settle(account, id, amount)));
  for (const caller of callers) await expect(caller).rejects.toThrow(UNAVAILABLE);
}

async function expectCharged(count: bigint): Promise<void> {
  expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n - 7n * count, held: 0n });
}
const kinds = async (): Promise<string[]> => (await ledger.entries(account)).map((entry) => entry[0]);

describe('a gateway that died with records in its journal', () => {
  it('is charged exactly by the next, and its file is gone', async () => {
    await (await withRecords(5)).gateway.die();
    const next = await rig.gateway();
    await next.takeover.start();
    await expectCharged(5n);
    expect(rig.files()).toEqual([await next.journal.fileName()]);
  });

  it('whose holds were ended meanwhile gets one late transfer each', async () => {
    const { gateway, ids } = await withRecords(2);
    await gateway.die();
    for (const id of ids) await ledger.recover(account, id);
    expect((await ledger.wallet(account)).posted).toBe(992n);
    await (await rig.gateway()).takeover.pass();
    await expectCharged(2n);
    expect(await kinds()).toEqual(['grant', 'recovered', 'recovered', 'late', 'late']);
  });

  it('whose hold was released as the orphan it was, served for nothing, is given back what that cost', async () => {
    rig.mend();
    const gateway = await rig.gateway({ away: true });
    const id = newId();
    await gateway.writer.hold(hold(account, id, 10n, { floor: 4n }));
    rig.cut();
    await expect(gateway.writer.release(release(account, id))).rejects.toThrow(UNAVAILABLE);
    await gateway.die();
    await ledger.recover(account, id);
    await (await rig.gateway()).takeover.pass();
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n, held: 0n });
  });

  it('after the database had committed, before it heard so, is charged once', async () => {
    rig.mend();
    const gateway = await rig.gateway({ away: true });
    const id = newId();
    await gateway.writer.hold(hold(account, id, 10n));
    rig.proxy.passes = 'statements';
    await journalAll(gateway, [id]);
    await gateway.die();
    await expectCharged(1n);
    await (await rig.gateway()).takeover.pass();
    await expectCharged(1n);
    expect(await kinds()).toEqual(['grant', 'charge']);
  });

  it('is charged once by claimers that come at the same time', async () => {
    for (let i = 0; i < 3; i++) await (await withRecords(3)).gateway.die();
    const claimers = await Promise.all(Array.from({ length: 3 }, () => rig.gateway()));
    await Promise.all(claimers.map(({ takeover }) => takeover.pass()));
    await expectCharged(9n);
    expect(await kinds()).toEqual(['grant', ...Array(9).fill('charge')]);
    expect(rig.files()).toHaveLength(claimers.length);
  });

  it('is charged also when its claimer dies in the middle, by the claimer’s heir', async () => {
    await (await withRecords(4)).gateway.die();
    let replayed = 0;
    const claimer: TestGateway = await rig.gateway({
      // The first two are charged; the others it does not live to see answered.
      replay: (operation) => (++replayed <= 2 ? claimer.writer.replay(operation) : new Promise(() => {})),
    });
    void claimer.takeover.pass();
    await until('it is half done', async () => replayed === 4 && (await ledger.wallet(account)).held === 20n);
    await claimer.die();
    expect(rig.files()).toContainEqual(expect.stringMatching(`^${claimer.owner}-claimed-`));
    const heir = await rig.gateway();
    await heir.takeover.pass();
    await expectCharged(4n);
    expect(rig.files()).toEqual([await heir.journal.fileName()]);
  });

  it('is given back by a claimer that stops, for the next to begin again', async () => {
    await (await withRecords(2)).gateway.die();
    const claimer = await rig.gateway({ replay: () => new Promise(() => {}) });
    void claimer.takeover.pass();
    await until('it is claimed', () => claimer.takeover.waiting === 2);
    await claimer.exit();
    expect(rig.files()).toEqual([expect.stringMatching(/^0-claimed-/)]);
    await (await rig.gateway()).takeover.pass();
    await expectCharged(2n);
  });
});

it('a gateway that ended cleanly while the database was away is charged by the next, known or not', async () => {
  await (await withRecords(3)).gateway.exit();
  expect(rig.files()).toEqual([expect.stringMatching(/^0-claimed-/)]);
  await (await rig.gateway()).takeover.pass();
  await expectCharged(3n);
  expect(rig.files()).toHaveLength(1);
});

describe('a gateway of which nothing is known', () => {
  it('keeps its journal as long as it beats, and has lost it after a minute without', async () => {
    const { gateway } = await withRecords(1);
    const other = await rig.gateway();
    for (let beats = 0; beats < 13; beats++) {
      rig.clock.aheadMs += 5_000;
      await gateway.takeover.beat();
      await other.takeover.beat();
    }
    expect((await ledger.wallet(account)).held, 'it lives').toBe(10n);
    rig.clock.aheadMs += MINUTE_MS - 1;
    await other.takeover.beat();
    expect((await ledger.wallet(account)).held, 'a minute is not over').toBe(10n);
    rig.clock.aheadMs += 1;
    await other.takeover.beat();
    await expectCharged(1n);
  });

  it('that was only stopped goes on in a new file: nothing is lost, nothing doubled', async () => {
    const { gateway, ids } = await withRecords(2);
    const later = newId();
    rig.mend();
    await holdAt(gateway, later);
    await until('its records are answered', () => gateway.journal.waiting === 0);
    expect(await kinds(), 'answered by its own writer').toEqual(['grant', 'charge', 'charge']);
    const first = await gateway.journal.fileName();
    const other = await rig.gateway();
    await other.takeover.pass();
    rig.clock.aheadMs += MINUTE_MS;
    await other.takeover.pass();
    expect(rig.files()).toEqual([await other.journal.fileName()]);
    rig.cut();
    await journalAll(gateway, [later]);
    expect(await gateway.journal.fileName()).not.toBe(first);
    await gateway.die();
    await other.takeover.pass();
    await expectCharged(BigInt(ids.length + 1));
    expect(await kinds()).toEqual(['grant', 'charge', 'charge', 'charge']);
  });

  it('that lost its file takes the space for another with its next beat', async () => {
    const gateway = await rig.gateway();
    const other = await rig.gateway();
    await other.takeover.pass();
    rig.clock.aheadMs += MINUTE_MS;
    await other.takeover.pass();
    expect(rig.files()).toHaveLength(1);
    await gateway.takeover.beat();
    expect(rig.files()).toHaveLength(2);
  });
});

describe('a record that the ledger refuses', () => {
  it.each([
    ['of a hold that is not there', () => settle(account, newId(), 7n)],
    ['of an account that is not there', () => settle(1n, newId(), 7n)],
  ])('for it is %s, is kept for a person, not deleted', async (_, record) => {
    const gateway = await rig.gateway();
    await gateway.journal.append(record());
    await gateway.die();
    await (await rig.gateway()).takeover.pass();
    expect(rig.refused()).toHaveLength(1);
  });

  it('is kept apart, its neighbours are charged, and each start tries it again', async () => {
    const { gateway, ids } = await withRecords(2);
    rig.mend();
    const bad = newId();
    await until('they are answered', () => gateway.journal.waiting === 0);
    await gateway.writer.hold(hold(account, bad, 10n));
    rig.cut();
    await journalAll(gateway, [bad], POISON);
    await gateway.die();
    await (await rig.gateway()).takeover.start();
    expect(rig.refused()).toHaveLength(1);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n - 7n * BigInt(ids.length), held: 10n });
    // As a person would put it right.
    const path = join(rig.dataDir, 'journal/refused', rig.refused()[0]!);
    writeFileSync(path, encodeRecord(settle(account, bad, 7n)));
    await (await rig.gateway()).takeover.start();
    expect(rig.refused()).toEqual([]);
    await expectCharged(3n);
  });

  it('is not lost where it cannot be kept apart: its journal stays', async () => {
    await (await withRecords(1, POISON)).gateway.die();
    writeFileSync(join(rig.dataDir, 'journal/refused'), 'a file where the folder should be');
    await (await rig.gateway()).takeover.pass();
    expect(rig.files()).toContainEqual(expect.stringMatching(/^0-claimed-/));
  });
});

it('leaves alone what is no journal', async () => {
  const gateway = await rig.gateway();
  const folder = join(rig.dataDir, 'journal');
  mkdirSync(join(folder, 'refused'));
  writeFileSync(join(folder, 'notes.txt'), 'mine');
  rig.clock.aheadMs += MINUTE_MS;
  await gateway.takeover.pass();
  rig.clock.aheadMs += MINUTE_MS;
  await gateway.takeover.pass();
  expect(rig.files()).toEqual([await gateway.journal.fileName()]);
});
