/** Giving back what a request was charged: once, to the lots that paid, and explained on its receipt. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endOwner } from '../../src/ledger/owners.ts';
import {
  type Customer,
  createCustomer,
  createRig,
  errorBody,
  type Json,
  nextMillisecond,
  openRequest,
  type Rig,
} from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const refund = (id: string, given: Json) => rig.admin('POST', `/requests/${id}/refund`, given);
const balanceOf = async ({ id }: Customer) => (await rig.admin('GET', `/accounts/${id}/balance`)).body;
const receiptOf = async (customer: Customer, id: string) => (await rig.customer(`/requests/${id}`, customer.key)).body;
const lotsOf = async (customer: Customer) => (await balanceOf(customer)).lots as { id: string; remaining: string }[];

/** A request that was charged 3 credits, two of the first lot and one of the second. */
async function chargedAcrossLots(): Promise<{ customer: Customer; id: string; lots: string[] }> {
  const customer = await createCustomer(rig, '2');
  await nextMillisecond();
  const second = { credits: '10', kind: 'topup', reference: 'second' };
  await rig.admin('POST', `/accounts/${customer.id}/credits`, second);
  const lots = (await lotsOf(customer)).map((lot) => lot.id);
  const request = await openRequest(rig, customer, '4');
  await request.settle('3', { usage: { input: 3000 } });
  return { customer, id: request.id, lots };
}

test('all of a charge goes back to the lots that paid, the last one burnt first: 201 the entry', async () => {
  const { customer, id, lots } = await chargedAcrossLots();
  const { status, body } = await refund(id, { reason: 'the answer was empty' });
  expect(status).toBe(201);
  expect(body).toEqual({
    id: `entry_${id.slice(4)}_reverse`,
    seq: 4,
    kind: 'reverse',
    credits: '3',
    balance_after: '12',
    debit: 'revenue',
    credit: 'wallet',
    reference: null,
    request_id: id,
    lots: expect.arrayContaining([
      { lot_id: lots[0], credits: '2' },
      { lot_id: lots[1], credits: '1' },
    ]),
    created_at: expect.any(String),
    reason: 'the answer was empty',
  });
  expect((await lotsOf(customer)).map(({ id: lot, remaining }) => [lot, remaining])).toEqual([
    [lots[0], '2'],
    [lots[1], '10'],
  ]);
  const { data } = (await rig.customer('/ledger', customer.key)).body as { data: Json[] };
  expect(new Set(data.map((row) => row.id)).size).toBe(4);
  expect(data[0]).toMatchObject({ kind: 'reverse', credits: '3', request_id: id });
  expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({ ok: true });
});

test('part of a charge goes back, and the receipt says what was paid and what came back', async () => {
  const { customer, id, lots } = await chargedAcrossLots();
  const before = await receiptOf(customer, id);
  expect(before).toMatchObject({ status: 'settled', charged: '3', refund: null });
  await refund(id, { credits: '1.5', reason: 'half a mistake' });
  expect(await receiptOf(customer, id)).toEqual({
    ...before,
    refund: {
      credits: '1.5',
      reason: 'half a mistake',
      lots: expect.arrayContaining([
        { lot_id: lots[1], credits: '1' },
        { lot_id: lots[0], credits: '0.5' },
      ]),
      created_at: expect.any(String),
    },
  });
  expect((await rig.customer('/requests', customer.key)).body.data).toMatchObject([{ refund: { credits: '1.5' } }]);
  expect((await balanceOf(customer)).posted).toBe('10.5');
});

test('a request is refunded once: 200 the same again, 409 with other fields, and nothing moves', async () => {
  const { customer, id } = await chargedAcrossLots();
  const given = { credits: '1', reason: 'once' };
  const answers = await Promise.all(Array.from({ length: 10 }, () => refund(id, given)));
  expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201]);
  for (const { body } of answers) expect(body).toEqual(answers[0]!.body);
  for (const [param, other] of [
    ['credits', { credits: '2' }],
    ['credits', { credits: null }],
    ['reason', { reason: 'twice' }],
  ] as const) {
    const { status, body } = await refund(id, { ...given, ...other });
    expect(status).toBe(409);
    expect(body).toEqual(errorBody('conflict', 'invalid_request_error', param, expect.stringContaining('1 credits')));
  }
  expect((await balanceOf(customer)).posted).toBe('10');
});

test('more than was charged is refused, also where nothing was; then the whole may still be refunded', async () => {
  const { customer, id } = await chargedAcrossLots();
  const tooMuch = await refund(id, { credits: '3.000000001', reason: 'greed' });
  const message = "Invalid value for 'credits': must be at most what the request was charged, 3.";
  expect(tooMuch).toMatchObject({
    status: 400,
    body: errorBody('invalid_request', 'invalid_request_error', 'credits', message),
  });
  expect((await refund(id, { credits: '3', reason: 'all of it' })).status).toBe(201);
  const free = await openRequest(rig, customer, '1');
  await free.release();
  for (const given of [{ reason: 'x' }, { credits: '1', reason: 'x' }]) {
    const message = "Invalid value for 'credits': this request was charged nothing.";
    expect(await refund(free.id, given)).toMatchObject({
      status: 400,
      body: errorBody('invalid_request', 'invalid_request_error', 'credits', message),
    });
  }
});

test('a request that runs is refused with 409, and may be refunded when it has ended', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2');
  const { status, body } = await refund(request.id, { reason: 'too early' });
  expect(status).toBe(409);
  expect(body).toEqual(errorBody('conflict', 'invalid_request_error', null, expect.stringContaining('still runs')));
  await request.settle('1', { usage: { input: 1000 } });
  expect((await refund(request.id, { reason: 'now' })).status).toBe(201);
});

test('a recovered request can be refunded; its late settlement gives back no more than was left', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '4');
  await endOwner(rig.database.pool, rig.owner);
  expect(await receiptOf(customer, request.id)).toMatchObject({ status: 'recovered', charged: '0.4', held: '4' });
  await refund(request.id, { credits: '0.3', reason: 'it died' });
  const recovered = await receiptOf(customer, request.id);
  expect(recovered).toMatchObject({ status: 'recovered', charged: '0.4', refund: { credits: '0.3' } });
  await request.settle('0.1', { usage: { input: 100 } });
  const settled = { status: 'settled', charged: '0.3', held: '4', refund: { credits: '0.3' } };
  expect(await receiptOf(customer, request.id)).toMatchObject(settled);
  expect((await balanceOf(customer)).posted).toBe('10');
  expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({ ok: true });
});

test('a refund repays debt first', async () => {
  const customer = await createCustomer(rig, '2');
  const request = await openRequest(rig, customer, '2');
  await request.settle('5', { usage: { input: 5000 } });
  expect(await balanceOf(customer)).toMatchObject({ posted: '-3', debt: '3' });
  const { body } = await refund(request.id, { credits: '4', reason: 'too much' });
  expect(body).toMatchObject({ credits: '4', balance_after: '1', lots: [{ credits: '1' }] });
  expect(await balanceOf(customer)).toMatchObject({ posted: '1', debt: '0' });
});

test('what went to a lot that had repaid the debt of the charge is shown as its share', async () => {
  const customer = await createCustomer(rig, null);
  await rig.admin('PATCH', `/accounts/${customer.id}`, { overdraft: '5' });
  const request = await openRequest(rig, customer, '3');
  await request.settle('3', { usage: { input: 3000 } });
  await rig.admin('POST', `/accounts/${customer.id}/credits`, { credits: '10', kind: 'topup', reference: 'late' });
  const [lot] = await lotsOf(customer);
  expect(lot!.remaining).toBe('7');
  const { body } = await refund(request.id, { reason: 'all of it' });
  expect(body).toMatchObject({ credits: '3', balance_after: '10', lots: [{ lot_id: lot!.id, credits: '3' }] });
  expect(await receiptOf(customer, request.id)).toMatchObject({ lots: [], refund: { lots: body.lots } });
});

test('the account may be named, and a request that is not its own is not there', async () => {
  const { customer, id } = await chargedAcrossLots();
  const other = await createCustomer(rig, '1');
  const given = { reason: 'named' };
  expect((await refund(`${id}`, given)).status).toBe(201);
  const at = (account: string) => rig.admin('POST', `/requests/${id}/refund?account=${account}`, given);
  expect((await at(customer.id)).status).toBe(200);
  for (const account of [other.id, 'acct_0000000000001', 'acct_x']) expect((await at(account)).status).toBe(404);
});

test.each([
  ['credits', { credits: '0' }],
  ['credits', { credits: '-1' }],
  ['credits', { credits: 'all' }],
  ['reason', { reason: undefined }],
  ['reason', { reason: '' }],
  ['reference', { reference: 'r' }],
])('a refund refuses a bad %s by name (%j), and nothing moves', async (param, wrong) => {
  const { customer, id } = await chargedAcrossLots();
  const { status, body } = await refund(id, { credits: '1', reason: 'why', ...wrong });
  expect(status).toBe(400);
  const message = expect.stringContaining(`'${param}'`);
  expect(body).toEqual(errorBody('invalid_request', 'invalid_request_error', param, message));
  expect((await balanceOf(customer)).posted).toBe('9');
});

test.each(['req_nonsense', 'req_00000000000070000000000000000000'])('%s cannot be refunded: 404', async (id) => {
  const { status, body } = await refund(id, { reason: 'why' });
  expect(status).toBe(404);
  expect(body).toEqual(errorBody('not_found', 'invalid_request_error', null, expect.any(String)));
});
