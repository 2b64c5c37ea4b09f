/** Budgets of keys and accounts as the owner sets and sees them. What they refuse: test/gateway/budgets.test.ts. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parsePublicId } from '../../src/lib/ids.ts';
import { type Customer, createCustomer, createRig, errorBody, type Json, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const DAY_MS = 86_400_000;
const tomorrow = () => new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS).toISOString();
const nextMonth = () => {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1)).toISOString();
};
const budgetOf = async ({ id }: { id: string }) => (await rig.admin('GET', `/accounts/${id}`)).body.budget;
const keyBudgetOf = async ({ id, keyId }: Customer) => {
  const { data } = (await rig.admin('GET', `/accounts/${id}/keys`)).body as { data: Json[] };
  return data.find((key) => key.id === keyId)!.budget;
};
const patchKey = ({ id, keyId }: Customer, given: unknown) =>
  rig.admin('PATCH', `/accounts/${id}/keys/${keyId}`, given);
const patch = ({ id }: Customer, given: unknown) => rig.admin('PATCH', `/accounts/${id}`, given);

/** A budget as it is shown, with the reset of its period. */
function shown(credits: string, period: 'day' | 'month' | 'total', used: string, held: string, remaining: string) {
  const resets = { day: tomorrow, month: nextMonth, total: () => null };
  return { credits, period, used, held, remaining, resets_at: resets[period]() };
}

test('an account and a key are created with a budget, and show it wherever they are shown', async () => {
  const created = await rig.admin('POST', '/accounts', { name: 'Thrifty', budget: { credits: 20, period: 'month' } });
  expect(created).toMatchObject({ status: 201, body: { budget: shown('20', 'month', '0', '0', '20') } });
  const id = created.body.id as string;
  expect(await budgetOf({ id })).toEqual(created.body.budget);
  const accounts = (await rig.admin('GET', '/accounts?limit=1')).body.data as Json[];
  expect(accounts[0]).toEqual(created.body);
  const key = await rig.admin('POST', `/accounts/${id}/keys`, { budget: { credits: '0.5', period: 'day' } });
  expect(key).toMatchObject({ status: 201, body: { budget: shown('0.5', 'day', '0', '0', '0.5') } });
  const keys = (await rig.admin('GET', `/accounts/${id}/keys`)).body.data as Json[];
  expect(keys).toMatchObject([{ id: key.body.id, budget: key.body.budget }]);
});

test('what requests hold and were charged counts against the budgets of their key and account', async () => {
  const customer = await createCustomer(rig, '100');
  await patchKey(customer, { budget: { credits: '10', period: 'day' } });
  await patch(customer, { budget: { credits: '30', period: 'total' } });
  const request = await openRequest(rig, customer, '4');
  await openRequest(rig, customer, '1');
  expect(await keyBudgetOf(customer)).toEqual(shown('10', 'day', '0', '5', '5'));
  expect(await budgetOf(customer)).toEqual(shown('30', 'total', '0', '5', '25'));
  await request.settle('3', { usage: { input: 3000 } });
  expect(await keyBudgetOf(customer)).toEqual(shown('10', 'day', '3', '1', '6'));
  expect(await budgetOf(customer)).toEqual(shown('30', 'total', '3', '1', '26'));
  await rig.admin('POST', `/requests/${request.id}/refund`, { credits: '2', reason: 'kind' });
  // To which day it belonged is not known for certain any more; what is spent in all is.
  expect(await keyBudgetOf(customer)).toEqual(shown('10', 'day', '3', '1', '6'));
  expect(await budgetOf(customer)).toEqual(shown('30', 'total', '1', '1', '28'));
});

test('a charge above its hold may exceed a budget: nothing remains, never less', async () => {
  const customer = await createCustomer(rig, '100');
  await patchKey(customer, { budget: { credits: '2', period: 'day' } });
  await (await openRequest(rig, customer, '2')).settle('7', { usage: { input: 7000 } });
  expect(await keyBudgetOf(customer)).toEqual(shown('2', 'day', '7', '0', '0'));
});

test('a budget that is set or changed counts what its period has seen already', async () => {
  const customer = await createCustomer(rig, '100');
  await (await openRequest(rig, customer, '4')).settle('3', { usage: { input: 3000 } });
  await openRequest(rig, customer, '2');
  for (const period of ['day', 'month', 'total'] as const) {
    const { status, body } = await patchKey(customer, { budget: { credits: '10', period } });
    expect(status).toBe(200);
    expect(body.budget).toEqual(shown('10', period, '3', '2', '5'));
  }
  const { body } = await patch(customer, { budget: { credits: '5.5', period: 'day' } });
  expect(body.budget).toEqual(shown('5.5', 'day', '3', '2', '0.5'));
});

test('null takes a budget away; what is not given stays', async () => {
  const customer = await createCustomer(rig, '10');
  const budget = { credits: '10', period: 'day' };
  await patchKey(customer, { budget });
  await patch(customer, { budget });
  expect((await patch(customer, { name: 'Renamed' })).body.budget).toMatchObject(budget);
  expect((await patchKey(customer, {})).body.budget).toMatchObject(budget);
  expect((await patch(customer, { budget: null })).body.budget).toBeNull();
  expect((await patchKey(customer, { budget: null })).body.budget).toBeNull();
  expect([await budgetOf(customer), await keyBudgetOf(customer)]).toEqual([null, null]);
});

test('a period that is over counts nothing any more, before any request came', async () => {
  const customer = await createCustomer(rig, '100');
  await patchKey(customer, { budget: { credits: '10', period: 'day' } });
  await (await openRequest(rig, customer, '4')).settle('3', { usage: { input: 3000 } });
  await openRequest(rig, customer, '2');
  await rig.database.pool.query(
    "UPDATE spenders SET period_start = period_start - interval '1 day' WHERE account_id = $1 AND key_id = $2",
    [customer.account, parsePublicId('key', customer.keyId)],
  );
  expect(await keyBudgetOf(customer)).toEqual(shown('10', 'day', '0', '0', '10'));
});

test('an external id is told apart by its budget too', async () => {
  const given = { name: 'Once', external_id: 'budgeted', budget: { credits: '5', period: 'day' } };
  const first = await rig.admin('POST', '/accounts', given);
  const again = await rig.admin('POST', '/accounts', { ...given, budget: { credits: 5, period: 'day' } });
  expect([first.status, again.status]).toEqual([201, 200]);
  expect(again.body).toEqual(first.body);
  for (const budget of [null, { credits: '6', period: 'day' }, { credits: '5', period: 'month' }]) {
    const { status, body } = await rig.admin('POST', '/accounts', { ...given, budget });
    expect(status).toBe(422);
    expect(body).toEqual(
      errorBody('reference_reused', 'invalid_request_error', 'budget', expect.stringContaining('budget')),
    );
  }
});

test.each([
  ['budget', 5],
  ['budget', '50/day'],
  ['budget', []],
  ['budget.credits', { period: 'day' }],
  ['budget.credits', { credits: '-1', period: 'day' }],
  ['budget.credits', { credits: '0.0000000001', period: 'day' }],
  ['budget.credits', { credits: '1000000000.000000001', period: 'day' }],
  ['budget.period', { credits: '1' }],
  ['budget.period', { credits: '1', period: 'week' }],
  ['budget.resets_at', { credits: '1', period: 'day', resets_at: null }],
])('a bad %s is refused by name (%j), and the budget stays', async (param, wrong) => {
  const customer = await createCustomer(rig, null);
  const budget = { credits: '1', period: 'day' };
  await patch(customer, { budget });
  await patchKey(customer, { budget });
  const message = expect.stringContaining(`'${param}'`);
  const expected = { status: 400, body: errorBody('invalid_request', 'invalid_request_error', param, message) };
  expect(await rig.admin('POST', '/accounts', { name: 'x', budget: wrong })).toMatchObject(expected);
  expect(await rig.admin('POST', `/accounts/${customer.id}/keys`, { budget: wrong })).toMatchObject(expected);
  expect(await patch(customer, { budget: wrong })).toMatchObject(expected);
  expect(await patchKey(customer, { budget: wrong })).toMatchObject(expected);
  expect([await budgetOf(customer), await keyBudgetOf(customer)]).toMatchObject([budget, budget]);
});

test('PATCH of a key takes a budget alone, and knows the keys of its account alone', async () => {
  const one = await createCustomer(rig, null);
  const two = await createCustomer(rig, null);
  expect(await patchKey(one, { name: 'x' })).toMatchObject({
    status: 400,
    body: errorBody('invalid_request', 'invalid_request_error', 'name', expect.stringContaining("'name'")),
  });
  for (const path of [
    `/accounts/${two.id}/keys/${one.keyId}`,
    `/accounts/${one.id}/keys/key_x`,
    `/accounts/acct_x/keys/${one.keyId}`,
  ]) {
    expect((await rig.admin('PATCH', path, { budget: null })).status).toBe(404);
  }
});
