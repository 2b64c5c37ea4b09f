/**
 * The specification of the verbs, as tables: what each answers in each state of a hold, and which answer comes first
 * when several would fit. Outcomes and their order are named in src/ledger/outcomes.ts; which denial of a new hold
 * comes first: denials.table.test.ts.
 *
 * Every hold here is of 40 with a floor of 10, in a wallet that was granted 100. One that expires does so at second 10.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Hold } from '../../src/ledger/operations.ts';
import type { Outcome, Result } from '../../src/ledger/outcomes.ts';
import { revokeSpender, setWalletStatus } from '../../src/ledger/wallets.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { rowsOf } from './model-compare.ts';
import {
  adjust,
  extend,
  grant,
  hold,
  KEY,
  type LedgerRig,
  newId,
  OTHER_KEY,
  openLedger,
  release,
  reverse,
  settle,
} from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

type State =
  | 'unknown'
  | 'open'
  | 'settled 30'
  | 'settled 30, reversed 30'
  | 'recovered'
  | 'recovered, late 30'
  | 'recovered, reversed 4'
  | 'recovered, reversed 4, late 0'
  | 'released'
  | 'released, late 30'
  | 'expired'
  | 'expired, late 30';

/** When each state is looked at: an expired hold, as its time comes. */
const at = (state: State): number => (state.startsWith('expired') ? 10 : 0);

/** A fresh account whose hold `id` is in `state`. */
async function inState(state: State): Promise<{ account: bigint; id: Uuid }> {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(grant(account, 100n));
  if (state === 'unknown') return { account, id };
  const ttlSeconds = state.startsWith('expired') ? 10 : null;
  const asked = hold(account, id, 40n, { floor: 10n, ttlSeconds });
  expect(await ledger.one(asked)).toMatchObject({ outcome: 'done', amount: 40n });
  for (const [i, step] of state.split(', ').entries()) {
    const [what, amount] = [step.split(' ')[0]!, BigInt(step.split(' ')[1] ?? 0n)];
    if (what === 'settled' || what === 'late') {
      expect((await ledger.one(settle(account, id, amount), at(state))).outcome).toBe(i === 0 ? 'done' : 'late');
    }
    if (what === 'recovered') await ledger.recover(account, id);
    if (what === 'released') await ledger.one(release(account, id));
    // Whatever is asked of the account then finds it.
    if (what === 'expired') await ledger.one(release(account, newId()), 10);
    if (what === 'reversed') expect((await ledger.one(reverse(account, id, amount))).outcome).toBe('done');
  }
  return { account, id };
}

const answers = (outcome: Outcome, amount: bigint, posted: bigint, held: bigint): Result => ({
  outcome,
  amount,
  available: posted - held,
  held,
});

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
    ['expired', 30n, 'late', 30n, 70n],
    ['expired', 150n, 'late', 150n, -50n],
    ['expired, late 30', 30n, 'repeated', 30n, 70n],
    ['expired, late 30', 31n, 'exists_with_different_amount', 30n, 70n],
    ['settled 30, reversed 30', 30n, 'repeated', 30n, 100n],
    ['settled 30, reversed 30', 0n, 'exists_with_different_amount', 30n, 100n],
    ['recovered, reversed 4', 12n, 'late', 12n, 92n],
    ['recovered, reversed 4', 4n, 'late', 4n, 100n],
    ['recovered, reversed 4', 0n, 'late', 4n, 100n], // what came back does not come back again
    ['recovered, reversed 4, late 0', 0n, 'repeated', 4n, 100n],
    ['recovered, reversed 4, late 0', 5n, 'exists_with_different_amount', 4n, 100n],
    ['unknown', 30n, 'hold_not_found', 0n, 100n],
  ])('on %s with %d answers %s', async (state, amount, outcome, charged, posted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(ledger, account);
    expect(await ledger.one(settle(account, id, amount), at(state))).toEqual(answers(outcome, charged, posted, 0n));
    if (!MOVES.includes(outcome)) expect(await rowsOf(ledger, account)).toEqual(before);
    if (MOVES.includes(outcome)) {
      expect(await ledger.one(settle(account, id, amount), at(state))).toEqual(
        answers('repeated', charged, posted, 0n),
      );
    }
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
    ['expired', 'already_expired', 100n],
    ['expired, late 30', 'already_expired', 70n],
    ['settled 30, reversed 30', 'already_settled', 100n],
    ['unknown', 'hold_not_found', 100n],
  ])('on %s answers %s', async (state, outcome, posted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(ledger, account);
    expect(await ledger.one(release(account, id), at(state))).toEqual(answers(outcome, 0n, posted, 0n));
    if (outcome !== 'done') expect(await rowsOf(ledger, account)).toEqual(before);
  });
});

describe('extend to 60', () => {
  it.each<[State, Outcome, amount: bigint]>([
    ['open', 'done', 60n],
    ['unknown', 'hold_not_found', 0n],
    ['settled 30', 'already_ended', 0n],
    ['recovered', 'already_ended', 0n],
    ['released', 'already_ended', 0n],
    ['expired', 'already_ended', 0n],
  ])('on %s answers %s', async (state, outcome, amount) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(ledger, account);
    expect(await ledger.one(extend(account, id, 60n), at(state))).toMatchObject({ outcome, amount });
    if (outcome !== 'done') expect(await rowsOf(ledger, account)).toEqual(before);
  });
});

describe('reverse', () => {
  it.each<[State, asked: bigint | null, Outcome, amount: bigint]>([
    ['open', null, 'still_open', 0n],
    ['unknown', null, 'hold_not_found', 0n],
    ['settled 30', null, 'done', 30n],
    ['settled 30', 30n, 'done', 30n],
    ['settled 30', 1n, 'done', 1n],
    ['settled 30', 31n, 'exceeds_charge', 30n],
    ['settled 30', 0n, 'exceeds_charge', 30n],
    ['recovered', null, 'done', 10n],
    ['recovered', 11n, 'exceeds_charge', 10n],
    ['recovered, late 30', null, 'done', 30n],
    ['released', null, 'exceeds_charge', 0n],
    ['released, late 30', null, 'done', 30n],
    ['expired', null, 'exceeds_charge', 0n],
    ['expired, late 30', 20n, 'done', 20n],
    ['settled 30, reversed 30', null, 'repeated', 30n],
    ['settled 30, reversed 30', 30n, 'repeated', 30n],
    ['settled 30, reversed 30', 29n, 'exists_with_different_amount', 30n],
    ['settled 30, reversed 30', 31n, 'exists_with_different_amount', 30n],
    ['recovered, reversed 4', 4n, 'repeated', 4n],
    ['recovered, reversed 4', null, 'exists_with_different_amount', 4n],
  ])('on %s of %s answers %s', async (state, asked, outcome, amount) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(ledger, account);
    expect(await ledger.one(reverse(account, id, asked), at(state))).toMatchObject({ outcome, amount });
    if (outcome !== 'done') expect(await rowsOf(ledger, account)).toEqual(before);
    else
      expect(await ledger.one(reverse(account, id, asked), at(state))).toMatchObject({ outcome: 'repeated', amount });
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
    ['expired', {}, 'already_ended', 0n],
    ['settled 30, reversed 30', {}, 'already_ended', 0n],
  ])('that is %s, given %o, answers %s', async (state, more, outcome, granted) => {
    const { account, id } = await inState(state);
    const before = await rowsOf(ledger, account);
    expect(await ledger.one(hold(account, id, 40n, more), at(state))).toMatchObject({ outcome, amount: granted });
    expect(await rowsOf(ledger, account)).toEqual(before);
  });

  it('that is open answers repeated even where a new one would be refused', async () => {
    const { account, id } = await inState('open');
    await setWalletStatus(ledger.client, account, 'suspended');
    await revokeSpender(ledger.client, account, KEY);
    expect(await ledger.one(hold(account, id, 40n))).toEqual(answers('repeated', 40n, 100n, 40n));
  });
});

it('every verb on an account that does not exist answers account_not_found', async () => {
  const id = newId();
  const onHold = [hold(999n, newId(), 0n), extend(999n, id, 1n), settle(999n, id, 1n), release(999n, id)];
  const all = [...onHold, grant(999n, 1n), adjust(999n, 1n), adjust(999n, -1n), reverse(999n, id)];
  const none = answers('account_not_found', 0n, 0n, 0n);
  expect(await ledger.apply(all)).toEqual(all.map(() => none));
  for (const operation of all) expect(await ledger.one(operation)).toEqual(none);
});
