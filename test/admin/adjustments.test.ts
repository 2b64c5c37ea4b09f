/** Credits added and taken by hand: once per reference, in burn order, as debt where nothing is left. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { uuidv7 } from '../../src/lib/ids.ts';
import { createCustomer, createRig, errorBody, type Json, nextMillisecond, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const TAKEN = { credits: '-5', reason: 'a mistake of ours', reference: 'ticket-1' };
const adjust = (id: string, given: Json) => rig.admin('POST', `/accounts/${id}/adjustments`, given);
const balanceOf = async (id: string) => (await rig.admin('GET', `/accounts/${id}/balance`)).body;
const lotOf = async (id: string) => ((await balanceOf(id)).lots as { id: string }[])[0]!.id;

test('credits are taken in burn order: 201 the entry, which the ledger shows', async () => {
  const { id } = await createCustomer(rig, '8');
  const lot = await lotOf(id);
  const { status, body } = await adjust(id, TAKEN);
  expect(status).toBe(201);
  const entry = {
    id: expect.stringMatching(/^entry_[0-9a-f]{32}$/),
    seq: 2,
    kind: 'adjust',
    credits: '-5',
    balance_after: '3',
    debit: 'wallet',
    credit: 'source:adjustment',
    reference: 'ticket-1',
    request_id: null,
    lots: [{ lot_id: lot, credits: '5' }],
    created_at: expect.any(String),
  };
  expect(body).toEqual({ ...entry, reason: 'a mistake of ours' });
  const { data } = (await rig.admin('GET', `/accounts/${id}/ledger?limit=1`)).body as { data: Json[] };
  expect(data).toEqual([{ ...entry, id: body.id }]);
  expect(await balanceOf(id)).toMatchObject({ posted: '3', debt: '0' });
});

test('what no lot can pay becomes debt, which credits that are added repay first', async () => {
  const customer = await createCustomer(rig, '2');
  const { id } = customer;
  expect((await adjust(id, TAKEN)).body).toMatchObject({ balance_after: '-3', lots: [{ credits: '2' }] });
  expect(await balanceOf(id)).toMatchObject({ posted: '-3', debt: '3', lots: [] });
  await nextMillisecond();
  const added = await adjust(id, { credits: 10, reason: 'goodwill', reference: 'ticket-2' });
  expect(added).toMatchObject({
    status: 201,
    body: { kind: 'adjust', credits: '10', balance_after: '7', debit: 'source:adjustment', credit: 'wallet' },
  });
  const [{ lot_id: lot }] = added.body.lots as [{ lot_id: string }];
  expect(await balanceOf(id)).toMatchObject({
    posted: '7',
    debt: '0',
    next_expiry: null,
    lots: [{ id: lot, kind: 'adjustment', granted: '10', remaining: '7', priority: 0, expires_at: null }],
  });
  await (await openRequest(rig, customer, '7')).settle('1');
  expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({ ok: true });
});

test('the same reference adjusts once: 201, then 200 with the same entry, also ten at once', async () => {
  const { id } = await createCustomer(rig, '50');
  const answers = await Promise.all(Array.from({ length: 10 }, () => adjust(id, TAKEN)));
  expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201]);
  const again = await adjust(id, { ...TAKEN, credits: -5 });
  expect(again.status).toBe(200);
  for (const { body } of answers) expect(body).toEqual(again.body);
  expect((await balanceOf(id)).posted).toBe('45');
});

test.each([
  ['credits', '-5.000000001'],
  ['credits', '5'],
  ['reason', 'another'],
])('the same reference with another %s (%s) is refused by name, and nothing moves', async (param, value) => {
  const { id } = await createCustomer(rig, '8');
  await adjust(id, TAKEN);
  const { status, body } = await adjust(id, { ...TAKEN, [param]: value });
  expect(status).toBe(422);
  expect(body).toEqual(errorBody('reference_reused', 'invalid_request_error', param, expect.stringContaining(param)));
  expect((await balanceOf(id)).posted).toBe('3');
});

test('a grant and an adjustment may have the same reference, and so may two accounts', async () => {
  const one = await createCustomer(rig, null);
  const two = await createCustomer(rig, null);
  const reference = TAKEN.reference;
  await rig.admin('POST', `/accounts/${one.id}/credits`, { credits: '9', kind: 'topup', reference });
  expect((await adjust(one.id, { ...TAKEN, credits: '1' })).status).toBe(201);
  expect((await adjust(two.id, TAKEN)).status).toBe(201);
  expect((await balanceOf(one.id)).posted).toBe('10');
  expect((await balanceOf(two.id)).posted).toBe('-5');
});

test('a reference that clawed a payment back is no adjustment’s', async () => {
  const { id, account } = await createCustomer(rig, '8');
  const given = { amount: -5_000_000_000n, reference: TAKEN.reference, reason: 'disputed', creditsPerUsd: 1000n };
  await rig.writer.apply({ verb: 'adjust', account, id: uuidv7(systemClock), book: 'clawback', ...given });
  const { status, body } = await adjust(id, TAKEN);
  expect(status).toBe(422);
  expect(body).toEqual(errorBody('reference_reused', 'invalid_request_error', 'reference', expect.any(String)));
  const { data } = (await rig.admin('GET', `/accounts/${id}/ledger?limit=1`)).body;
  expect(data).toMatchObject([{ kind: 'adjust', debit: 'wallet', credit: 'clawback', reference: TAKEN.reference }]);
});

test.each([
  ['credits', { credits: '0' }],
  ['credits', { credits: '-0' }],
  ['credits', { credits: '-1000000000.000000001' }],
  ['credits', { credits: '0.0000000001' }],
  ['credits', { credits: '+1' }],
  ['credits', { credits: null }],
  ['credits', { credits: undefined }],
  ['reason', { reason: undefined }],
  ['reason', { reason: '' }],
  ['reference', { reference: undefined }],
  ['reference', { reference: 'nul \0' }],
  ['kind', { kind: 'bonus' }],
])('an adjustment refuses a bad %s by name (%j), and nothing moves', async (param, wrong) => {
  const { id } = await createCustomer(rig, '8');
  const { status, body } = await adjust(id, { ...TAKEN, ...wrong });
  expect(status).toBe(400);
  const message = expect.stringContaining(`'${param}'`);
  expect(body).toEqual(errorBody('invalid_request', 'invalid_request_error', param, message));
  expect((await balanceOf(id)).posted).toBe('8');
});

test('a balance beyond 10⁹ credits either way is refused, and nothing moves', async () => {
  const { id } = await createCustomer(rig, '1000000000');
  const expected = errorBody('invalid_request', 'invalid_request_error', 'credits', expect.stringContaining('10⁹'));
  expect(await adjust(id, { ...TAKEN, credits: '0.000000001' })).toMatchObject({ status: 400, body: expected });
  const poor = await createCustomer(rig, null);
  expect((await adjust(poor.id, { ...TAKEN, credits: '-1000000000' })).status).toBe(201);
  const deeper = { ...TAKEN, credits: '-0.000000001', reference: 'more' };
  expect(await adjust(poor.id, deeper)).toMatchObject({ status: 400, body: expected });
  expect((await balanceOf(poor.id)).posted).toBe('-1000000000');
});

test('nobody is not adjusted: 404', async () => {
  for (const account of ['acct_0000000000001', 'acct_nonsense']) {
    const expected = errorBody('not_found', 'invalid_request_error', null, expect.any(String));
    expect(await adjust(account, TAKEN)).toMatchObject({ status: 404, body: expected });
  }
});
