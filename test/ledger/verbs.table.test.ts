/**
 * The specification of the verbs, as tables: what each answers in each state of a hold, and which answer comes first
 * when several would fit. Outcomes and their order are named in src/ledger/outcomes.ts.
 *
 * Every hold here is of 40 with a floor of 10, in a wallet that was granted 100.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Hold } from '../../src/ledger/operations.ts';
import type { Outcome, Result } from '../../src/ledger/outcomes.ts';
import { revokeSpender, setWalletStatus } from '../../src/ledger/wallets.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { grant, hold, KEY, type LedgerRig, newId, OTHER_KEY, openLedger, release, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

type State = 'unknown' | 'open' | 'settled 30' | 'recovered' | 'recovered, late 30' | 'released' | 'released, late 30';

/** A fresh account whose hold `id` is in `state`. */
async function inState(state: State): Promise<{ account: bigint; id: Uuid }> {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(grant(account, 100n));
  if (state === 'unknown') return { account, id };
  expect(await ledger.one(hold(account, id, 40n, { floor: 10n }))).toMatchObject({ outcome: 'done', amount: 40n });
  if (state.startsWith('settled')) await ledger.one(settle(account, id, 30n));
  if (state.startsWith('recovered')) await ledger.recover(account, id);
  if (state.startsWith('released')) await ledger.one(release(account, id));
  if (state.endsWith('late 30')) expect((await ledger.one(settle(account, id, 30n))).outcome).toBe('late');
  return { account, id };
}

const answers = (outcome: Outcome, amount: bigint, posted: bigint, held: bigint): Result => ({
  outcome,
  amount,
  available: posted - held,
  held,
});

/** All that could have moved. */
async function rowsOf(account: bigint): Promise<unknown> {
  const { rows } = await ledger.client.query(
    `SELECT to_jsonb(w) - 'next_change_at' AS wallet,
       (SELECT jsonb_agg(to_jsonb(e) ORDER BY seq) FROM entries e WHERE e.account_id = w.account_id) AS entries,
       (SELECT jsonb_agg(to_jsonb(h) ORDER BY id) FROM holds h WHERE h.account_id = w.account_id) AS holds,
       (SELECT jsonb_agg(to_jsonb(l) ORDER BY lot_id) FROM lots l WHERE l.account_id = w.account_id) AS lots,
       (SELECT jsonb_agg(to_jsonb(a) ORDER BY id, kind, lot_id) FROM allocations a WHERE a.account_id = w.account_id) AS shares
     FROM wallets w WHERE account_id = $1`,
    [account],
  );
  return rows;
}

const MOVES: readonly Outcome[] = ['done', 'late'];

describe('settle', () => {
  it.each<[State, bigint, Outcome, charged: bigint, posted: bigint]>([
    ['open', 30n, 'done', 30n, 70n],
    ['open', 0n, 'done', 0n, 100n],
    ['open', 50n, 'done', 50n, 50n], // above the hold
    ['open', 150n, 'done', 150n, -50n], // above the balance: debt
    ['settled 30', 30n, 'repeated', 30n, 70n],
    ['settled 30', 31n, 'exists_with_different_amount', 30n, 70n],
    ['settled 30', 0n, 'exists_with_different_amount', 30n, 70n],
    ['recovered', 30n, 'late', 30n, 70n],
    ['recovered', 10n, 'late', 10n, 90n],
    ['recovered', 4n, 'late', 4n, 96n],
    ['recovered', 0n, 'late', 0n, 100n],
    ['recovered', 150n, 'late', 150n, -50n],
    ['recovered, late 30', 30n, 'repeated', 30n, 70n],
    ['recovered, late 30', 10n, 'exists_with_different_amount', 30n, 70n],
    ['released', 30n, 'late', 30n, 70n],
    ['released', 0n, 'late', 0n, 100n],
    ['released, late 30', 30n, 'repeated', 30n, 70n],
    ['released, late 30', 0n, 'exists_with_different_amount', 30n, 70n],
    ['unknown', 30n, 'hold_not_found', 0n, 100n],
  ])('on %s with %d answers %s', async (state, amount, outcome, charged, posted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(account);
    expect(await ledger.one(settle(account, id, amount))).toEqual(answers(outcome, charged, posted, 0n));
    if (!MOVES.includes(outcome)) expect(await rowsOf(account)).toEqual(before);
    if (MOVES.includes(outcome)) expect((await ledger.one(settle(account, id, amount))).outcome).toBe('repeated');
  });
});

describe('release', () => {
  it.each<[State, Outcome, posted: bigint]>([
    ['open', 'done', 100n],
    ['released', 'repeated', 100n],
    ['released, late 30', 'repeated', 70n],
    ['settled 30', 'already_settled', 70n],
    ['recovered', 'already_settled', 90n],
    ['recovered, late 30', 'already_settled', 70n],
    ['unknown', 'hold_not_found', 100n],
  ])('on %s answers %s', async (state, outcome, posted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(account);
    expect(await ledger.one(release(account, id))).toEqual(answers(outcome, 0n, posted, 0n));
    if (outcome !== 'done') expect(await rowsOf(account)).toEqual(before);
  });
});

describe('hold with an id', () => {
  it.each<[State, Partial<Hold>, Outcome, granted: bigint]>([
    ['open', {}, 'repeated', 40n],
    ['open', { want: 100n, least: 40n }, 'repeated', 40n],
    ['open', { want: 40n, least: 1n }, 'repeated', 40n],
    ['open', { want: 39n, least: 1n }, 'exists_with_different_amount', 40n],
    ['open', { want: 100n, least: 41n }, 'exists_with_different_amount', 40n],
    ['open', { key: OTHER_KEY }, 'exists_with_different_key', 40n],
    ['open', { key: OTHER_KEY, want: 39n, least: 1n }, 'exists_with_different_key', 40n],
    ['open', { policyVersion: 0n, catalogVersion: 0n }, 'repeated', 40n],
    ['settled 30', {}, 'already_ended', 0n],
    ['settled 30', { key: OTHER_KEY, want: 1n, policyVersion: 0n }, 'already_ended', 0n],
    ['recovered', {}, 'already_ended', 0n],
    ['released', {}, 'already_ended', 0n],
    ['released, late 30', {}, 'already_ended', 0n],
  ])('that is %s, given %o, answers %s', async (state, more, outcome, granted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(account);
    expect(await ledger.one(hold(account, id, 40n, more))).toMatchObject({ outcome, amount: granted });
    expect(await rowsOf(account)).toEqual(before);
  });

  it('that is open answers repeated even where a new one would be refused', async () => {
    const { account, id } = await inState('open');
    await setWalletStatus(ledger.client, account, 'suspended');
    await revokeSpender(ledger.client, account, KEY);
    expect(await ledger.one(hold(account, id, 40n))).toEqual(answers('repeated', 40n, 100n, 40n));
  });
});

describe('a new hold is refused by the first rule it breaks:', () => {
  const rules = ['stale_policy', 'account_suspended', 'key_inactive', 'credits'] as const;
  const subsets = Array.from({ length: 16 }, (_, bits) => rules.filter((_, i) => (bits >> i) & 1));

  it.each(subsets.map((broken) => [broken.join(' + ') || 'none', broken] as const))('%s', async (_, broken) => {
    const has = (rule: (typeof rules)[number]): boolean => (broken as readonly string[]).includes(rule);
    const id = newId();
    // An expired key, a revoked key and a key that never was are all the same to a hold.
    for (const key of [11n, 12n, 13n]) {
      for (const busy of [0n, 60n]) {
        const account = await ledger.newAccount();
        await ledger.one(grant(account, 100n));
        await ledger.one(hold(account, newId(), busy));
        await ledger.client.query(
          `INSERT INTO spenders (account_id, key_id, state, expires_at) VALUES ($1, 11, 1, 'infinity'), ($1, 12, 0, $2)`,
          [account, second(0)],
        );
        if (has('account_suspended')) await setWalletStatus(ledger.client, account, 'suspended');
        const { rows } = await ledger.client.query<{ policy_version: bigint }>(
          'SELECT policy_version FROM wallets WHERE account_id = $1',
          [account],
        );
        const now = rows[0]!.policy_version;
        const asked = hold(account, id, has('credits') ? 101n - busy : 40n, {
          key: has('key_inactive') ? key : KEY,
          policyVersion: has('stale_policy') ? now - 1n : now,
        });
        const short = busy > 0n ? 'credits_held' : 'insufficient_credits';
        const first = broken[0] === 'credits' ? short : (broken[0] ?? 'done');
        const before = await rowsOf(account);
        const result = await ledger.one(asked);
        expect(result).toMatchObject({ outcome: first, amount: first === 'done' ? 40n : 0n });
        if (first !== 'done') expect(await rowsOf(account)).toEqual(before);
      }
    }
  });

  it('an old catalog is as stale as an old policy; a newer one than the database has is not', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 100n));
    expect((await ledger.one(hold(account, newId(), 1n, { catalogVersion: 0n }))).outcome).toBe('stale_policy');
    expect((await ledger.one(hold(account, newId(), 1n, { catalogVersion: 9n, policyVersion: 9n }))).outcome).toBe(
      'done',
    );
  });

  it('an id that was refused may be used again', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    expect((await ledger.one(hold(account, id, 40n))).outcome).toBe('insufficient_credits');
    await ledger.one(grant(account, 100n));
    expect((await ledger.one(hold(account, id, 40n))).outcome).toBe('done');
  });

  it('a key spends until the instant it expires', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 100n));
    await ledger.client.query('INSERT INTO spenders (account_id, key_id, expires_at) VALUES ($1, 11, $2)', [
      account,
      second(10),
    ]);
    expect((await ledger.one(hold(account, newId(), 1n, { key: 11n }), 9.999)).outcome).toBe('done');
    expect((await ledger.one(hold(account, newId(), 1n, { key: 11n }), 10)).outcome).toBe('key_inactive');
  });
});

it('every verb on an account that does not exist answers account_not_found', async () => {
  const all = [hold(999n, newId(), 0n), settle(999n, newId(), 1n), release(999n, newId()), grant(999n, 1n)];
  const none = answers('account_not_found', 0n, 0n, 0n);
  expect(await ledger.apply(all)).toEqual(all.map(() => none));
  for (const operation of all) expect(await ledger.one(operation)).toEqual(none);
});
