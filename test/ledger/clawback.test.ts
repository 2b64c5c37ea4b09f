/** A payment that is taken back takes its credits along; one that turns out to stand gives them back as they were. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { presentEntry } from '../../src/ledger/present.ts';
import { readAdjustment, readBalance } from '../../src/ledger/read.ts';
import { rebuildLedger } from '../../src/ledger/rebuild.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { publicUuid } from '../../src/lib/ids.ts';
import { claw, clawAll, clawback, paidAccount } from './clawback-rig.ts';
import { grant, hold, type LedgerRig, newId, openLedger, reverse, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  expect(await rebuildLedger(ledger.pool)).toMatchObject({ changed: [], broken: [] });
  await ledger.close();
});

async function spend(account: bigint, amount: bigint, at = 0): Promise<Uuid> {
  const id = newId();
  await ledger.one(hold(account, id, 0n), at);
  await ledger.one(settle(account, id, amount), at);
  return id;
}

const of = (...ids: Uuid[]): Uuid[] => ids;
const entriesOf = async (account: bigint, last: number) => (await ledger.entries(account)).slice(-last);

describe('takes', () => {
  it('what has not started first, then what is live of the payment, whatever burns first', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-8n]);
    expect(await ledger.lots(account)).toEqual({ main: 7n, bonus: 0n, other: 20n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 27n, dormant: 0n });
    expect(await entriesOf(account, 1)).toEqual([['adjust', -8n, 27n, { bonus: 5n, main: 3n }]]);
  });

  it('of several that have not started, the one that starts last first', async () => {
    const account = await ledger.newAccount();
    const ids = of(newId(), newId(), newId());
    const starts = [20, 40, 30];
    await ledger.apply(
      ids.map((id, i) => grant(account, 4n, { id, reference: `in ${starts[i]}`, startsAt: second(starts[i]!) })),
    );
    await clawAll(ledger, account, ids, [-6n]);
    expect(await ledger.lots(account)).toEqual({ 'in 20': 4n, 'in 30': 2n, 'in 40': 0n });
  });

  it('what expired and waits for older holds, before other lots', async () => {
    const account = await ledger.newAccount();
    const [id, open] = [newId(), newId()];
    await ledger.apply([
      grant(account, 10n, { id, reference: 'mine', expiresAt: second(10) }),
      grant(account, 10n, { reference: 'other' }),
      hold(account, open, 3n),
    ]);
    await clawAll(ledger, account, of(id), [-8n], 20);
    expect(await ledger.lots(account)).toEqual({ mine: 2n, other: 10n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 10n, dormant: 2n });
    await ledger.one(settle(account, open, 3n), 21);
    expect(await entriesOf(account, 1)).toEqual([['charge', -3n, 9n, { mine: 2n, other: 1n }]]);
  });

  it('then other live lots in burn order, then debt: nothing is clamped', async () => {
    const { account, lots } = await paidAccount(ledger);
    await spend(account, 28n);
    await clawAll(ledger, account, lots, [-15n]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -8n, debt: 8n, dormant: 0n });
    expect(await entriesOf(account, 1)).toEqual([['adjust', -15n, -8n, { bonus: 5n, main: 2n }]]);
  });

  it('never what another payment has that did not start yet', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([grant(account, 4n, { id }), grant(account, 9n, { reference: 'later', startsAt: second(9) })]);
    await spend(account, 4n);
    await clawAll(ledger, account, of(id), [-4n]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -4n, debt: 4n, dormant: 9n });
    expect((await readBalance(ledger.pool, account))!.lots.map((lot) => lot.reference)).toEqual(['later']);
    await spend(account, 0n, 9);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 5n, debt: 0n, dormant: 0n });
  });

  it('from a wallet whose time has come: what is due starts and expires before', async () => {
    const account = await ledger.newAccount();
    const ids = of(newId(), newId());
    await ledger.apply([
      grant(account, 4n, { id: ids[0]!, reference: 'over', expiresAt: second(5) }),
      grant(account, 4n, { id: ids[1]!, reference: 'new', startsAt: second(5) }),
    ]);
    await clawAll(ledger, account, ids, [-6n], 7);
    expect(await entriesOf(account, 2)).toEqual([
      ['expire', -4n, 4n, { over: 4n }],
      ['adjust', -6n, -2n, { new: 4n }],
    ]);
  });

  it('what was spent long ago as debt, and the next grant repays it', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([grant(account, 10n, { id })]);
    await spend(account, 10n);
    await clawAll(ledger, account, of(id), [-10n], 90);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -10n, debt: 10n });
    await ledger.one(grant(account, 25n, { reference: 'next' }), 91);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 15n, debt: 0n });
    expect(await ledger.lots(account)).toMatchObject({ next: 15n });
  });

  it('leaves running requests their holds, and new ones nothing', async () => {
    const account = await ledger.newAccount();
    const [id, open] = [newId(), newId()];
    await ledger.apply([grant(account, 10n, { id }), hold(account, open, 6n)]);
    await clawAll(ledger, account, of(id), [-10n]);
    expect(await ledger.one(settle(account, open, 6n))).toMatchObject({ outcome: 'done', available: -6n });
  });
});

describe('gives back', () => {
  it('all that was taken, as it was: a lot that has not started comes back so', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-8n, 8n]);
    expect(await ledger.lots(account)).toEqual({ main: 10n, bonus: 5n, other: 20n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 30n, dormant: 5n });
    await spend(account, 0n, 49);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 30n, dormant: 5n });
    await spend(account, 0n, 50);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 35n, dormant: 0n });
  });

  it('part of it: the last taken first', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-4n, -3n, 1n]);
    expect(await ledger.lots(account)).toEqual({ main: 9n, bonus: 0n, other: 20n });
    await clawAll(ledger, account, lots, [3n]);
    expect(await ledger.lots(account)).toEqual({ main: 10n, bonus: 2n, other: 20n });
    expect(await entriesOf(account, 1)).toEqual([['adjust', 3n, 32n, { main: 1n, bonus: 2n }]]);
  });

  it('to the lots of the last take before those of earlier ones', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-5n, -3n, 2n]);
    expect(await ledger.lots(account)).toEqual({ main: 9n, bonus: 0n, other: 20n });
    await clawAll(ledger, account, lots, [2n]);
    expect(await ledger.lots(account)).toEqual({ main: 10n, bonus: 1n, other: 20n });
  });

  it('to a lot that is spent and closed, which is live again', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-15n]);
    await spend(account, 20n);
    await clawAll(ledger, account, lots, [15n], 60);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 15n, debt: 0n, dormant: 0n });
  });

  it('to debt first, whoever made it', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-10n]);
    await spend(account, 29n);
    expect(await ledger.wallet(account)).toMatchObject({ debt: 4n });
    await clawAll(ledger, account, lots, [10n]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 5n, debt: 0n, dormant: 1n });
    expect(await ledger.lots(account)).toEqual({ main: 5n, bonus: 1n, other: 0n });
  });

  it('what was debt, and a grant has repaid since, to that grant, not to a lot that has expired', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([grant(account, 10n, { id, reference: 'spent', priority: 9, expiresAt: second(10) })]);
    await spend(account, 10n);
    await clawAll(ledger, account, of(id), [-10n]);
    await ledger.one(grant(account, 15n, { reference: 'next' }));
    await clawAll(ledger, account, of(id), [10n], 20);
    expect(await ledger.lots(account)).toEqual({ spent: 0n, next: 15n });
    const entry = (await readAdjustment(ledger.pool, account, (await lastReference(account))!))!;
    expect([entry.lots, entry.returned.map(({ amount }) => amount)]).toEqual([[], [10n]]);
  });

  it('what a lot gave that has expired since, to be booked expired', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([grant(account, 10n, { id, reference: 'a', expiresAt: second(10) }), grant(account, 5n)]);
    await clawAll(ledger, account, of(id), [-6n]);
    await clawAll(ledger, account, of(id), [6n], 20);
    expect(await entriesOf(account, 3)).toEqual([
      ['expire', -4n, 5n, { a: 4n }],
      ['adjust', 6n, 11n, { a: 6n }],
      ['expire', -6n, 5n, { a: 6n }],
    ]);
  });

  it('what only a lot can take that has not started, to that lot: it does not start early', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-5n]);
    const charge = await spend(account, 35n);
    await clawAll(ledger, account, lots, [5n]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 0n, debt: 0n, dormant: 0n });
    expect(await ledger.one(reverse(account, charge))).toMatchObject({ outcome: 'done', available: 30n });
    expect(await ledger.lots(account)).toEqual({ main: 10n, bonus: 5n, other: 20n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 30n, dormant: 5n });
  });
});

async function lastReference(account: bigint): Promise<string | undefined> {
  const { rows } = await ledger.client.query<{ reference: string }>(
    'SELECT reference FROM adjustments WHERE account_id = $1 ORDER BY at DESC, id DESC LIMIT 1',
    [account],
  );
  return rows[0]?.reference;
}

it('its row in the ledger names its reference, its book and the lots', async () => {
  const { account, lots } = await paidAccount(ledger);
  await claw(ledger.client, clawback(account, -5n, lots, { reference: 'clawback:pi_1:1' }));
  await claw(ledger.client, clawback(account, 5n, lots, { reference: 'clawback:pi_1:2' }));
  const rows = await Promise.all([1, 2].map((n) => readAdjustment(ledger.pool, account, `clawback:pi_1:${n}`)));
  const shares = [{ lot_id: publicUuid('lot', lots[1]!), credits: '0.000000005' }];
  expect(rows.map((row) => presentEntry(row!))).toMatchObject([
    { kind: 'adjust', credits: '-0.000000005', debit: 'wallet', credit: 'clawback', reference: 'clawback:pi_1:1' },
    { kind: 'adjust', credits: '0.000000005', debit: 'clawback', credit: 'wallet', lots: shares, request_id: null },
  ]);
  expect(rows.map((row) => row!.reason)).toEqual(['refunded', 'refunded']);
});
