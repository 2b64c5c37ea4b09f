/** However many ask for a verification, one reads at a time, and what it answers was read after the question. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { sharedVerification } from '../../src/ledger/verify.ts';
import { createRig } from '../admin/rig.ts';
import { corrupt } from './busy.ts';
import { grant, type LedgerRig, openLedger, until } from './rig.ts';

let ledger: LedgerRig;
let account: bigint;
beforeAll(async () => {
  ledger = await openLedger();
  account = await ledger.newAccount();
  await ledger.one(grant(account, 10n));
});
afterAll(() => ledger.close());

/** The connections that are taken from the pool while `work` runs; `before` is told the number of each, and may delay it. */
async function connections(
  { pool }: Pick<LedgerRig, 'pool'>,
  work: () => Promise<unknown>,
  before: (count: number) => Promise<void> = async () => {},
): Promise<number> {
  const connect = pool.connect.bind(pool) as () => Promise<unknown>;
  let count = 0;
  const spy = vi.spyOn(pool, 'connect').mockImplementation((async () => {
    await before(++count);
    return connect();
  }) as never);
  await work();
  spy.mockRestore();
  return count;
}

it('those who ask at once share one; those who come while it reads share the next, and see what was changed before', async () => {
  const verify = sharedVerification(ledger.pool);
  const alone = await connections(ledger, verify);
  const last = Promise.withResolvers<void>();
  let begun = 0;
  const both = async (): Promise<void> => {
    const early = [verify(), verify(), verify()];
    await until('the first has read all but the end', () => begun === alone);
    await corrupt(ledger, 'UPDATE wallets SET held = 1 WHERE account_id = $1', [account]);
    const late = [verify(), verify()];
    await ledger.client.query('SELECT'); // time enough to begin
    expect(begun).toBe(alone);
    last.resolve();
    const found = await Promise.all([...early, ...late]);
    expect(found.map(({ differences }) => differences.length)).toEqual([0, 0, 0, 1, 1]);
    expect(new Set(found).size).toBe(2);
  };
  const taken = await connections(ledger, both, async (count) => {
    begun = count;
    if (count === alone) await last.promise;
  });
  expect(taken).toBe(2 * alone);
  await corrupt(ledger, 'UPDATE wallets SET held = 0 WHERE account_id = $1', [account]);
});

it('one that fails is told to those who wait for it, and to nobody after them', async () => {
  const verify = sharedVerification(ledger.pool);
  vi.spyOn(ledger.pool, 'connect').mockImplementationOnce((async () => Promise.reject(new Error('away'))) as never);
  const failed = await Promise.allSettled([verify(), verify()]);
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect((await verify()).differences).toEqual([]);
});

it('GET /admin/v1/ledger/verify: of many at once at most two read', async () => {
  const rig = await createRig();
  const { database } = rig;
  const ask = async (): Promise<void> => {
    expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({ ok: true });
  };
  const alone = await connections(database, ask);
  const together = await connections(database, () => Promise.all(Array.from({ length: 8 }, ask)));
  expect(together).toBeLessThanOrEqual(2 * alone);
  await rig.close();
});
