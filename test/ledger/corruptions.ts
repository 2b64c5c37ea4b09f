/** A history with something of everything, and each way to corrupt it: what `ledger verify` must name. */
import type { Uuid } from '../../src/lib/ids.ts';
import { claw, clawback } from './clawback-rig.ts';
import { adjust, grant, hold, KEY, type LedgerRig, newId, release, second, settle } from './rig.ts';

export interface History {
  account: bigint;
  /** Another account, whose last entry has number 2. */
  other: bigint;
  /** One whose payment pi_1 granted 9: 5 of it were clawed back, then 2 given back. */
  refunded: bigint;
  /** A charge of 15 that lot `a` paid 10 of and lot `b` 5: the 8th entry. */
  crossing: Uuid;
  /** A charge of 2 that lot `b` paid, the 9th. */
  plain: Uuid;
  /** An open hold of 3. */
  open: Uuid;
  lots: { a: Uuid; b: Uuid; pending: Uuid; gone: Uuid };
}

/** An account with something of everything: charges, a release, an expiry, debt repaid, a recovered charge refunded. */
export async function history(ledger: LedgerRig): Promise<History> {
  const [account, other] = [await ledger.newAccount(20n), await ledger.newAccount()];
  await ledger.apply([grant(other, 5n), grant(other, 5n)]);
  const refunded = await ledger.newAccount();
  const bought = newId();
  await ledger.apply([grant(refunded, 9n, { id: bought })]);
  for (const amount of [-5n, 2n]) await claw(ledger.client, clawback(refunded, amount, [bought]));
  const [first, crossing, plain, released, died, open] = [newId(), newId(), newId(), newId(), newId(), newId()];
  const lots = { a: newId(), b: newId(), pending: newId(), gone: newId() };
  await ledger.client.query('SELECT ledger_set_budget($1, $2, 1000, 3::smallint)', [account, KEY]);
  const more = { policyVersion: 2n };
  await ledger.one(hold(account, first, 4n, more));
  await ledger.one(settle(account, first, 4n));
  await ledger.apply([
    grant(account, 14n, { id: lots.a, reference: 'a', priority: 1 }),
    grant(account, 50n, { id: lots.b, reference: 'b', priority: 2 }),
    grant(account, 5n, { id: lots.gone, expiresAt: second(5), priority: 3 }),
    grant(account, 8n, { id: lots.pending, startsAt: second(90), expiresAt: second(99) }),
    adjust(account, 1n),
  ]);
  await ledger.one(adjust(account, -1n));
  await ledger.apply([hold(account, crossing, 15n, more), hold(account, plain, 2n, more)]);
  await ledger.apply([settle(account, crossing, 15n), settle(account, plain, 2n)]);
  await ledger.one(hold(account, released, 1n, more));
  await ledger.one(release(account, released));
  await ledger.one(hold(account, died, 9n, { ...more, floor: 9n }), 10);
  await ledger.recover(account, died, 11);
  await ledger.one(settle(account, died, 4n), 12);
  await ledger.one(hold(account, open, 3n, more), 13);
  return { account, other, refunded, crossing, plain, open, lots };
}

/** What is changed behind the ledger's back, how, and what `verify` must say of it: subject, expected / found. */
export type Corruption = [what: string, (h: History) => [sql: string, ...values: unknown[]], (h: History) => string[]];

const ENTRIES: Corruption[] = [
  [
    'a changed amount',
    (h) => ['UPDATE entries SET amount = amount - 1 WHERE id = $1', h.plain],
    (h) => [`entry ${h.plain}/2 balance_after: `, `lot ${h.lots.b} remaining: `],
  ],
  [
    'a missing entry',
    (h) => ['DELETE FROM entries WHERE id = $1', h.plain],
    (h) => ['entry of seq 9: to be there, moving -2 / missing', `lot ${h.lots.b} remaining: `],
  ],
  [
    'several missing entries',
    (h) => ['DELETE FROM entries WHERE id IN ($1, $2)', h.plain, h.crossing],
    (h) => [
      'entries of seq 8 to 9: to be there, moving -17 / missing',
      `allocation ${h.crossing}/2 of lot ${h.lots.a}: an entry / none`,
    ],
  ],
  [
    'a missing last entry',
    (h) => ['DELETE FROM entries WHERE account_id = $1 AND seq = 2', h.other],
    () => ['wallet seq: 1 / 2', 'granted: 0 / 5'],
  ],
  [
    'a doubled entry',
    (h) => [
      `INSERT INTO entries SELECT account_id, seq, amount, balance_after, key_id, at, uuid_at(at + interval '1 second'), lot_id,
         kind, debit, credit, receipt FROM entries WHERE id = $1`,
      h.plain,
    ],
    (h) => ['/2 seq: a number of its own / 9', `lot ${h.lots.b} remaining: `],
  ],
  [
    'an entry out of order',
    (h) => ['UPDATE entries SET seq = seq + 100 WHERE id = $1', h.plain],
    (h) => ['entry of seq 9: to be there, moving -2 / missing', `entry ${h.plain}/2 seq: at most 13 / 109`],
  ],
  [
    'a number that another entry has',
    (h) => ['UPDATE entries SET seq = seq - 1 WHERE id = $1', h.plain],
    () => ['/2 seq: a number of its own / 8', 'entry of seq 9: '],
  ],
  [
    'a wrong balance after an entry',
    (h) => ['UPDATE entries SET balance_after = 7 WHERE id = $1', h.plain],
    (h) => [`entry ${h.plain}/2 balance_after: 56 / 7`],
  ],
  [
    'a charge to a book that is not revenue',
    (h) => ['UPDATE entries SET credit = 3 WHERE id = $1', h.plain],
    (h) => [`entry ${h.plain}/2 books: the wallet and 2 / 1 to 3`],
  ],
  [
    'a grant from the source of another kind of lot',
    (h) => ['UPDATE entries SET debit = 13 WHERE lot_id = $1 AND kind = 1', h.lots.a],
    (h) => [`entry ${h.lots.a}/1 books: the wallet and 10 / 13 to 1`],
  ],
  [
    'an entry that names another lot',
    (h) => ['UPDATE entries SET lot_id = $2 WHERE id = $1', h.plain, h.lots.a],
    (h) => [`lot ${h.lots.a} remaining: `, `lot ${h.lots.b} remaining: `],
  ],
  [
    'an entry that names a lot of nobody',
    (h) => ['UPDATE entries SET lot_id = id WHERE id = $1', h.plain],
    (h) => [`entry ${h.plain}/2 lot_id: a lot of the account / ${h.plain}`, `lot ${h.lots.b} remaining: `],
  ],
  [
    'an entry of another account',
    (h) => ['UPDATE entries SET account_id = $2 WHERE id = $1', h.plain, h.other],
    (h) => ['entry of seq 9: to be there, moving -2 / missing', `entry ${h.plain}/2 seq: at most 2 / 9`],
  ],
  [
    'an allocation that vanished',
    (h) => ['DELETE FROM allocations WHERE id = $1 AND lot_id = $2', h.crossing, h.lots.a],
    (h) => [`lot ${h.lots.a} remaining: 10 / 0`, 'wallet debt: 10 / 0'],
  ],
  [
    'an allocation of another amount',
    (h) => ['UPDATE allocations SET amount = amount + 1 WHERE id = $1 AND lot_id = $2', h.crossing, h.lots.b],
    (h) => [`lot ${h.lots.b} remaining: `],
  ],
  [
    'an allocation of nothing',
    (h) => ['INSERT INTO allocations VALUES ($1, gen_random_uuid(), 2, $2, 1)', h.account, h.lots.b],
    (h) => [`of lot ${h.lots.b}: an entry / none`],
  ],
  [
    'an allocation of a lot of nobody',
    (h) => ['UPDATE allocations SET lot_id = gen_random_uuid() WHERE id = $1 AND lot_id = $2', h.crossing, h.lots.a],
    (h) => [': a lot of the account / none', `lot ${h.lots.a} remaining: `],
  ],
  [
    'an adjustment of another amount',
    (h) => ['UPDATE adjustments SET amount = 99 WHERE account_id = $1 AND amount > 0', h.account],
    () => ['amount: 1 / 99'],
  ],
  [
    'an adjustment that vanished',
    (h) => ['DELETE FROM adjustments WHERE account_id = $1 AND amount > 0', h.account],
    () => ['adjustments: one for each entry / 1 missing'],
  ],
  [
    'a clawback of another payment',
    (h) => ["UPDATE adjustments SET payment = 'pi_2' WHERE account_id = $1 AND amount > 0", h.refunded],
    () => ['clawbacks of pi_2: no more back than was taken / -2'],
  ],
];

const PROJECTIONS: Corruption[] = [
  ...(['posted', 'dormant', 'debt', 'held', 'seq'] as const).map(
    (field): Corruption => [
      `a wrong ${field}`,
      (h) => [`UPDATE wallets SET ${field} = ${field} + 1, head_left = 0 WHERE account_id = $1`, h.account],
      () => [`wallet ${field}: `],
    ],
  ),
  [
    'a number too low',
    (h) => ['UPDATE wallets SET seq = seq - 3 WHERE account_id = $1', h.account],
    () => ['wallet seq: 13 / 10'],
  ],
  [
    'a head lot with too much left',
    (h) => ['UPDATE wallets SET head_left = head_left + 1 WHERE account_id = $1', h.account],
    (h) => [`lot ${h.lots.b} remaining: `],
  ],
  [
    'another head lot',
    (h) => ['UPDATE wallets SET head_lot = $2 WHERE account_id = $1', h.account, h.lots.a],
    (h) => [`wallet head_lot: ${h.lots.b} / ${h.lots.a}`],
  ],
  [
    'a change that would come too late',
    (h) => ["UPDATE wallets SET next_change_at = 'infinity' WHERE account_id = $1", h.account],
    () => ['wallet next_change_at: '],
  ],
  [
    'a wallet that vanished',
    (h) => ['DELETE FROM wallets WHERE account_id = $1', h.account],
    () => ['wallet: a row / none'],
  ],
  [
    'a closed lot that came back',
    (h) => ['UPDATE lots SET remaining = 1, granted = granted + 1 WHERE lot_id = $1', h.lots.a],
    (h) => [`lot ${h.lots.a} granted: 14 / 15`],
  ],
  [
    'a lot with too little left',
    (h) => ['UPDATE lots SET remaining = 1 WHERE lot_id = $1', h.lots.pending],
    (h) => [`lot ${h.lots.pending} remaining: 8 / 1`],
  ],
  [
    'a lot that was closed too early',
    (h) => ['UPDATE lots SET state = 3 WHERE lot_id = $1', h.lots.pending],
    (h) => [`lot ${h.lots.pending} state: not closed / closed`, 'wallet dormant: 0 / 8'],
  ],
  [
    'a repayment that vanished',
    (h) => ['UPDATE lots SET repaid = 0 WHERE lot_id = $1', h.lots.a],
    (h) => [`lot ${h.lots.a} repaid: 4 / 0`],
  ],
  [
    'an expiry that vanished',
    (h) => ['UPDATE lots SET expired = 0 WHERE lot_id = $1', h.lots.gone],
    (h) => [`lot ${h.lots.gone} expired: 5 / 0`],
  ],
  [
    'a lot that vanished',
    (h) => ['DELETE FROM lots WHERE lot_id = $1', h.lots.gone],
    (h) => [`entry ${h.lots.gone}/1 lot_id: a lot of the account / ${h.lots.gone}`],
  ],
  [
    'a budget that counts too little',
    (h) => ['UPDATE spenders SET held = 0 WHERE account_id = $1 AND key_id = $2', h.account, KEY],
    () => [`spender ${KEY} held: 3 / 0`],
  ],
];

const HOLDS: Corruption[] = [
  [
    'a hold that vanished',
    (h) => ['DELETE FROM holds WHERE id = $1', h.open],
    () => ['wallet held: 0 / 3', `spender ${KEY} held: 0 / 3`],
  ],
  [
    'a hold of another amount',
    (h) => ['UPDATE holds SET amount = 5 WHERE id = $1', h.open],
    () => ['wallet held: 5 / 3', `spender ${KEY} held: 5 / 3`],
  ],
  [
    'a hold of another account',
    (h) => ['UPDATE holds SET account_id = $2 WHERE id = $1', h.open, h.other],
    () => ['wallet held: 0 / 3', 'wallet held: 3 / 0'],
  ],
  [
    'a hold of a key that the account does not have',
    (h) => ['UPDATE holds SET key_id = 99 WHERE id = $1', h.open],
    (h) => [`hold ${h.open} key_id: a key of the account / 99`],
  ],
  [
    'a hold whose gateway nobody knows',
    (h) => ['UPDATE holds SET owner = 4711 WHERE id = $1', h.open],
    (h) => [`hold ${h.open} owner: a gateway with a lease / 4711`],
  ],
];

export const CORRUPTIONS: readonly Corruption[] = [...ENTRIES, ...PROJECTIONS, ...HOLDS];
