/** `ledger verify` finds usage that is not the ledger's; `ledger rebuild` makes it anew, equal. */
import { afterAll, beforeEach, expect, test } from 'vitest';
import { endOwner } from '../../src/ledger/owners.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { mintId } from '../../src/lib/ids.ts';
import { rebuildBooks, verifyBooks } from '../../src/metering/usage-audit.ts';
import { foldUsage } from '../../src/metering/usage-fold.ts';
import { createRig, type Rig } from '../admin/rig.ts';
import { CREDIT, openPast, type Past } from './usage-rig.ts';

let rig: Rig;
let past: Past;
beforeEach(async () => {
  rig ??= await createRig();
  past = await openLife();
});
afterAll(() => rig.close());

/** An account with an entry of every kind that a request can leave, folded up to the last but two. */
async function openLife(): Promise<Past> {
  const owner = mintId(systemClock);
  const life = await openPast(rig, new Date(), owner);
  const now = () => new Date();
  const refunded = await life.charge(now(), CREDIT, { model: 'fine' });
  await life.charge(now(), CREDIT / 2n);
  await life.release(await life.hold(now()), now());
  const [recovered] = [await life.hold(now()), await life.hold(now(), { onOrphan: 'release' })];
  await endOwner(rig.database.pool, owner);
  await life.settle(recovered, now(), CREDIT / 3n, 'plain', { input: 3 });
  await life.adjust(now(), -CREDIT);
  await life.reverse(refunded, now(), CREDIT / 4n);
  await foldUsage(rig.database.pool, life.customer.account);
  await life.adjust(now(), CREDIT);
  await life.charge(now(), CREDIT / 5n);
  return life;
}

const run = (sql: string) => rig.database.pool.query(sql, [past.customer.account]);
const verify = async () => (await verifyBooks(rig.database.pool, { account: past.customer.account })).differences;
const rebuild = (dryRun = false) => rebuildBooks(rig.database.pool, { account: past.customer.account, dryRun });
async function rows(): Promise<unknown> {
  return (
    await run(`SELECT to_jsonb(f) AS fold, (SELECT jsonb_agg(to_jsonb(d) ORDER BY day, key_id, model) FROM usage_days d
      WHERE d.account_id = f.account_id) AS days FROM usage_folds f WHERE f.account_id = $1`)
  ).rows;
}

test('what requests left is proven, folded or not yet, and rebuilding changes nothing', async () => {
  expect(await verify()).toEqual([]);
  expect(await rebuild()).toMatchObject({ usageRebuilt: 0, changed: [], broken: [] });
  expect(await verify()).toEqual([]);
});

test('an account that was never folded is proven too', async () => {
  await run('DELETE FROM usage_days WHERE account_id = $1');
  await run('DELETE FROM usage_folds WHERE account_id = $1');
  expect(await verify()).toEqual([]);
  await run("INSERT INTO usage_days VALUES ($1, '2026-01-01', 1, 'x', 1, 1, 1, 1)");
  expect(await verify()).toMatchObject([{ subject: 'usage credits up to seq 0', expected: '0', found: '1' }]);
});

test.each([
  ['credits are changed', "UPDATE usage_days SET credits = credits + 1 WHERE account_id = $1 AND model = 'fine'"],
  ['a row is lost', "DELETE FROM usage_days WHERE account_id = $1 AND model = 'fine'"],
  ['all rows are lost', 'DELETE FROM usage_days WHERE account_id = $1'],
  [
    'rows are doubled',
    'INSERT INTO usage_days SELECT account_id, day, 1, model, requests, 0, 0, credits FROM usage_days WHERE account_id = $1',
  ],
  ['the watermark lags behind', 'UPDATE usage_folds SET seq = seq - 1 WHERE account_id = $1'],
  ['the watermark is ahead', 'UPDATE usage_folds SET seq = seq + 100 WHERE account_id = $1'],
])('where %s, verify says so, and rebuild makes it what it was', async (_what, corruption) => {
  await rebuild();
  const before = await rows();
  await run(corruption);
  // A watermark that lags behind counts nothing twice before the next request ends and is folded.
  await past.charge(new Date(), CREDIT / 7n, { model: 'another' });
  await foldUsage(rig.database.pool, past.customer.account);
  expect(await verify()).toMatchObject([{ account: past.customer.account, subject: expect.stringContaining('usage') }]);
  expect(await rebuild(true)).toMatchObject({ usageRebuilt: 1, broken: [] });
  expect(await rebuild()).toMatchObject({ usageRebuilt: 1, rebuilt: 0, broken: [] });
  expect(await verify()).toEqual([]);
  expect((await rebuild()).changed).toEqual([]);
  const kept = (all: unknown) =>
    (all as { days: { model: string }[] }[])[0]!.days.filter(({ model }) => model !== 'another');
  expect(kept(await rows())).toEqual(kept(before));
});

test('a balance that is another is found while it proves anything, and the next reader makes it right', async () => {
  await run('UPDATE usage_folds SET balance = balance + 1 WHERE account_id = $1');
  expect(await verify()).toMatchObject([{ subject: expect.stringMatching(/^usage credits up to seq \d+$/) }]);
  await foldUsage(rig.database.pool, past.customer.account);
  expect(await verify()).toEqual([]);
});

test('rebuild finds what no sum shows, and names the row', async () => {
  await run("UPDATE usage_days SET input_tokens = input_tokens + 1 WHERE account_id = $1 AND model = 'fine'");
  expect(await verify()).toEqual([]);
  const before = await rows();
  const { changed } = await rebuild(true);
  expect(changed).toMatchObject([
    {
      subject: expect.stringMatching(/^usage \d{4}-\d\d-\d\d \d+ fine$/),
      expected: '1 10 5 750000000',
      found: '1 11 5 750000000',
    },
  ]);
  expect(await rows()).toEqual(before);
});

test('dropped whole, it is made again, equal, beside readers', async () => {
  await rebuild();
  const before = await rows();
  await rig.database.pool.query('UPDATE usage_folds SET seq = 0, balance = 0; DELETE FROM usage_days');
  const readers = Array.from({ length: 10 }, () => foldUsage(rig.database.pool, past.customer.account));
  const [done] = await Promise.all([rebuildBooks(rig.database.pool), ...readers]);
  expect(done.broken).toEqual([]);
  expect(await rows()).toEqual(before);
});

test('an account whose entries are not all there keeps what was counted', async () => {
  await rebuild();
  const before = await rows();
  await rig.database.pool.query(
    `BEGIN; SET LOCAL session_replication_role = replica;
     DELETE FROM entries WHERE account_id = ${past.customer.account} AND seq = 3; COMMIT`,
  );
  expect((await rebuild()).broken).toContainEqual({
    ...{ account: past.customer.account, subject: 'usage', expected: '11 entries', found: '10' },
  });
  expect(await rows()).toEqual(before);
});

test('a receipt that cannot be read leaves its account as it is, and hinders no other', async () => {
  await rebuild();
  await rig.database.pool.query(
    `BEGIN; SET LOCAL session_replication_role = replica;
     UPDATE entries SET receipt = '[9]' WHERE account_id = ${past.customer.account} AND seq = 3; COMMIT`,
  );
  expect((await rebuild()).broken).toEqual([
    {
      ...{ account: past.customer.account, subject: 'usage', expected: 'receipts that can be read' },
      found: 'a receipt of version 9 cannot be read by this release',
    },
  ]);
});
