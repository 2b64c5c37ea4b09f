import { afterAll, beforeAll, expect, it } from 'vitest';
import { publicId } from '../../../src/lib/ids.ts';
import { findPayer, type PayerHints } from '../../../src/payments/sync/accounts.ts';
import { createPayRig, type PayRig } from './rig.ts';

let rig: PayRig;
/** With a customer, with none, with an external id. */
const accounts = { paying: 0n, plain: 0n, named: 0n };
beforeAll(async () => {
  rig = await createPayRig();
  const made = async (customer: string | null, externalId?: string) =>
    (await rig.payer({ customer, ...(externalId !== undefined && { externalId }) })).account;
  accounts.paying = await made('cus_paying');
  accounts.plain = await made(null);
  accounts.named = await made(null, 'user 42/é');
});
afterAll(() => rig.close());

type Name = keyof typeof accounts;
const reference = (name: Name) => publicId('acct', accounts[name]);
const row = (name: Name, customer: string | null = null) => ({ account: accounts[name], customer });

const table: Array<[string, () => PayerHints, Name | null]> = [
  ['a row of ours, of an account without a customer', () => ({ customer: 'cus_new', checkout: row('plain') }), 'plain'],
  [
    'a row of ours, of the account that has this customer',
    () => ({ customer: 'cus_paying', checkout: row('paying') }),
    'paying',
  ],
  [
    'a row of ours, made for a customer that was replaced since',
    () => ({ customer: 'cus_old', recharge: row('paying', 'cus_old') }),
    'paying',
  ],
  ['a row of ours, when a guest paid', () => ({ customer: null, checkout: row('paying', 'cus_paying') }), 'paying'],
  [
    'the customer before a row that neither was made for it nor has it',
    () => ({ customer: 'cus_other', checkout: row('paying') }),
    null,
  ],
  ['the customer', () => ({ customer: 'cus_paying' }), 'paying'],
  [
    'the customer before the reference',
    () => ({ customer: 'cus_paying', clientReference: reference('plain') }),
    'paying',
  ],
  [
    'the reference, when nobody has the customer',
    () => ({ customer: 'cus_new', clientReference: reference('plain') }),
    'plain',
  ],
  ['the reference, when a guest paid', () => ({ customer: null, clientReference: reference('paying') }), 'paying'],
  ['an external id as it is', () => ({ customer: null, clientReference: 'user 42/é' }), 'named'],
  [
    'an external id, percent-encoded after ext:',
    () => ({ customer: null, clientReference: 'ext:user%2042%2F%C3%A9' }),
    'named',
  ],
  ['nobody', () => ({ customer: 'cus_new', clientReference: 'user 43' }), null],
  ['nobody, of nothing', () => ({ customer: null }), null],
  ['nobody, of an id that is no account', () => ({ customer: null, clientReference: 'acct_0000000000001' }), null],
];

it.each(table)('finds whose a payment is by %s', async (_, hints, name) => {
  expect(await findPayer(rig.pool, hints())).toBe(name === null ? null : accounts[name]);
});

it('never finds an account by its e-mail', async () => {
  await rig.pool.query("UPDATE accounts SET email = 'payer@example.com' WHERE account_id = $1", [accounts.plain]);
  expect(await findPayer(rig.pool, { customer: null, clientReference: 'payer@example.com' })).toBeNull();
});
