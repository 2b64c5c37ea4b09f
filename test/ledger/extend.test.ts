/** Extending a hold: a running request asks for more, and gets no more than there is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/ledger/outcomes.ts';
import { revokeSpender, setWalletStatus } from '../../src/ledger/wallets.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { extend, grant, hold, KEY, type LedgerRig, newId, openLedger, release, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

/** An account granted 100 with an overdraft of 20, whose hold `id` is of 40. */
async function holding40(): Promise<{ account: bigint; id: Uuid }> {
  const account = await ledger.newAccount(20n);
  const id = newId();
  await ledger.one(grant(account, 100n));
  await ledger.one(hold(account, id, 40n, { floor: 10n }));
  return { account, id };
}

describe('a hold of 40, with 80 free beside it, that shall be', () => {
  it.each<[least: bigint, want: bigint, Outcome, amount: bigint]>([
    [60n, 60n, 'done', 60n],
    [120n, 120n, 'done', 120n], // to the last nano-credit
    [41n, 200n, 'done', 120n], // all that fits
    [121n, 200n, 'insufficient_credits', 40n],
    [40n, 200n, 'repeated', 40n], // it is that much already
    [1n, 10n, 'repeated', 40n],
  ])('at least %d and at most %d answers %s, and is %d', async (least, want, outcome, amount) => {
    const { account, id } = await holding40();
    const held = amount;
    const answer = await ledger.one(extend(account, id, want, least));
    // A denial answers with nothing granted, and leaves the hold as it is.
    expect(answer).toMatchObject({ outcome, held, available: 100n - held });
    expect((await ledger.wallet(account)).held).toBe(held);
  });
});

it('is told apart: short because others hold it, or short for good', async () => {
  const { account, id } = await holding40();
  await ledger.one(hold(account, newId(), 50n));
  expect((await ledger.one(extend(account, id, 71n))).outcome).toBe('credits_held');
  expect((await ledger.one(extend(account, id, 120n))).outcome).toBe('credits_held');
  expect((await ledger.one(extend(account, id, 121n))).outcome).toBe('insufficient_credits');
  expect((await ledger.one(extend(account, id, 70n))).outcome).toBe('done');
});

it('the same extension again extends nothing', async () => {
  const { account, id } = await holding40();
  const ask = extend(account, id, 60n);
  expect(await ledger.apply([ask, ask])).toMatchObject([
    { outcome: 'done', amount: 60n, held: 60n },
    { outcome: 'repeated', amount: 60n, held: 60n },
  ]);
});

it('a hold asked for again after it was extended answers what it was granted at first', async () => {
  const { account, id } = await holding40();
  await ledger.one(extend(account, id, 60n));
  expect(await ledger.one(hold(account, id, 40n))).toMatchObject({ outcome: 'repeated', amount: 40n, held: 60n });
  expect((await ledger.one(hold(account, id, 60n))).outcome).toBe('exists_with_different_amount');
});

it('a running request was admitted: no suspension, revocation or new policy stops its extension', async () => {
  const { account, id } = await holding40();
  await setWalletStatus(ledger.client, account, 'suspended');
  await revokeSpender(ledger.client, account, KEY);
  expect((await ledger.one(extend(account, id, 60n))).outcome).toBe('done');
});

it('ends whole: a settle, a release and a dead gateway free all of it', async () => {
  for (const end of ['settle', 'release', 'recover'] as const) {
    const { account, id } = await holding40();
    await ledger.one(extend(account, id, 60n));
    if (end === 'settle') await ledger.one(settle(account, id, 55n));
    if (end === 'release') await ledger.one(release(account, id));
    if (end === 'recover') await ledger.recover(account, id);
    const charged = { settle: 55n, release: 0n, recover: 10n }[end];
    expect(await ledger.wallet(account)).toMatchObject({ held: 0n, posted: 100n - charged });
  }
});

it('a dead gateway charges what was metered up to the extended amount, and no more', async () => {
  for (const [metered, charged] of [
    [55n, 55n],
    [99n, 60n],
  ] as const) {
    const { account, id } = await holding40();
    await ledger.one(extend(account, id, 60n));
    await ledger.client.query('SELECT ledger_heartbeat(99, $1, $2, $3)', [[account], [id], [metered]]);
    await ledger.recover(account, id);
    expect(await ledger.wallet(account)).toMatchObject({ held: 0n, posted: 100n - charged });
  }
});

it('takes what its batch settles before it, and leaves the rest to the holds of the batch', async () => {
  const account = await ledger.newAccount();
  const [a, b, c] = [newId(), newId(), newId()];
  await ledger.one(grant(account, 100n));
  await ledger.apply([hold(account, a, 50n), hold(account, b, 50n)]);
  const answers = await ledger.apply([hold(account, c, 31n), settle(account, b, 10n), extend(account, a, 60n)]);
  expect(answers.map((answer) => answer.outcome)).toEqual(['credits_held', 'done', 'done']);
  expect((await ledger.one(hold(account, c, 30n))).outcome).toBe('done');
});

it('keeps the time of a hold that ends by itself', async () => {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(grant(account, 100n, { expiresAt: second(50) }));
  await ledger.one(hold(account, id, 40n, { ttlSeconds: 10 }));
  expect((await ledger.one(extend(account, id, 60n), 9)).outcome).toBe('done');
  expect((await ledger.one(extend(account, id, 70n), 10)).outcome).toBe('already_ended');
  expect((await ledger.wallet(account)).held).toBe(0n);
});

it('a hold without a cost can be made one with a cost', async () => {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(hold(account, id, 0n));
  expect((await ledger.one(extend(account, id, 1n))).outcome).toBe('insufficient_credits');
  await ledger.one(grant(account, 1n));
  expect(await ledger.one(extend(account, id, 1n))).toMatchObject({ outcome: 'done', amount: 1n });
});
