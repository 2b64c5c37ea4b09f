/** Grants, balances and ledgers through the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCustomer, createRig, errorBody, type Json, nextMillisecond, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const GRANT = { credits: '100', kind: 'topup', reference: 'invoice-1' };
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const grantTo = (id: string, given: Json) => rig.admin('POST', `/accounts/${id}/credits`, given);
const lotsOf = async (id: string) => (await rig.admin('GET', `/accounts/${id}/balance`)).body.lots as Json[];

test('a grant answers the lot, and the balance and the ledger show it', async () => {
  const { id } = await createCustomer(rig, null);
  const given = { ...GRANT, priority: -5, expires_at: '2100-01-01T00:00:00Z', reason: 'a gift' };
  const { status, body } = await grantTo(id, given);
  expect(status).toBe(201);
  const lot = {
    id: expect.stringMatching(/^lot_[0-9a-f]{32}$/),
    kind: 'topup',
    granted: '100',
    remaining: '100',
    priority: -5,
    starts_at: TIME,
    expires_at: '2100-01-01T00:00:00.000Z',
  };
  expect(body).toEqual({ ...lot, reference: 'invoice-1', reason: 'a gift', paid: null });
  expect((await rig.admin('GET', `/accounts/${id}/balance`)).body).toEqual({
    available: '100',
    held: '0',
    posted: '100',
    debt: '0',
    overdraft: '0',
    next_expiry: { at: '2100-01-01T00:00:00.000Z', credits: '100' },
    lots: [{ ...lot, id: body.id }],
  });
  expect((await rig.admin('GET', `/accounts/${id}/ledger`)).body).toEqual({
    data: [
      {
        id: expect.stringMatching(/^entry_[0-9a-f]{32}$/),
        seq: 1,
        kind: 'grant',
        credits: '100',
        balance_after: '100',
        debit: 'source:topup',
        credit: 'wallet',
        reference: 'invoice-1',
        request_id: null,
        lots: [{ lot_id: body.id, credits: '100' }],
        created_at: TIME,
      },
    ],
    has_more: false,
    next_cursor: null,
  });
});

test('the same reference grants once: 201, then 200 with the same lot', async () => {
  const { id } = await createCustomer(rig, null);
  const terms = { ...GRANT, expires_at: '2100-01-01T00:00:00Z', starts_at: '2026-01-01T00:00:00Z', reason: 'why' };
  const given = { ...terms, paid: { amount_minor: 1000, currency: 'usd' } };
  const first = await grantTo(id, given);
  const same = {
    credits: 100,
    starts_at: '2026-01-01T01:00:00+01:00',
    paid: { amount_minor: '1000', currency: 'USD' },
  };
  const again = await grantTo(id, { ...given, ...same });
  expect([first.status, again.status]).toEqual([201, 200]);
  expect(again.body).toEqual(first.body);
  expect(first.body.paid).toEqual(given.paid);
  expect(await lotsOf(id)).toHaveLength(1);
});

test.each([
  ['credits', '100.000000001'],
  ['kind', 'bonus'],
  ['priority', 1],
  ['starts_at', '2026-01-02T00:00:00Z'],
  ['expires_at', '2100-01-02T00:00:00Z'],
  ['expires_at', null],
  ['reason', 'another'],
  ['paid', null],
  ['paid', { amount_minor: 999, currency: 'eur' }],
  ['paid', { amount_minor: 1000, currency: 'usd' }],
])('the same reference with another %s is refused by name, and nothing moves', async (param, value) => {
  const { id } = await createCustomer(rig, null);
  const terms = { ...GRANT, starts_at: '2026-01-01T00:00:00Z', expires_at: '2100-01-01T00:00:00Z', reason: 'why' };
  const given = { ...terms, paid: { amount_minor: 1000, currency: 'eur' } };
  await grantTo(id, given);
  const { status, body } = await grantTo(id, { ...given, [param]: value });
  expect(status).toBe(422);
  expect(body).toEqual(errorBody('reference_reused', 'invalid_request_error', param, expect.stringContaining(param)));
  expect((await rig.admin('GET', `/accounts/${id}/balance`)).body.available).toBe('100');
});

test('ten equal grants at once make one lot', async () => {
  const { id } = await createCustomer(rig, null);
  const answers = await Promise.all(Array.from({ length: 10 }, () => grantTo(id, GRANT)));
  expect(answers.map((answer) => answer.status).sort()).toEqual([...Array(9).fill(200), 201]);
  expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
  expect(await lotsOf(id)).toHaveLength(1);
});

test('a reference is an account’s own', async () => {
  const one = await createCustomer(rig, null);
  const two = await createCustomer(rig, null);
  expect((await grantTo(one.id, GRANT)).status).toBe(201);
  expect((await grantTo(two.id, GRANT)).status).toBe(201);
});

test.each(['topup', 'subscription', 'bonus', 'promo', 'adjustment'])('a grant may be a %s', async (kind) => {
  const { id } = await createCustomer(rig, null);
  expect(await grantTo(id, { ...GRANT, kind })).toMatchObject({ status: 201, body: { kind } });
  const { body } = await rig.admin('GET', `/accounts/${id}/ledger`);
  expect(body.data).toMatchObject([{ debit: `source:${kind}` }]);
});

test('credits keep every digit, as text and as a number that is exact', async () => {
  const { id } = await createCustomer(rig, null);
  const amounts = ['0.000000001', '999999998.123456789', '1e0', '0.10'];
  for (const [i, written] of amounts.entries()) {
    const { body, status } = await rig.admin(
      'POST',
      `/accounts/${id}/credits`,
      `{"credits":${written},"kind":"topup","reference":"${i}"}`,
    );
    expect([written, status, body.granted]).toEqual(
      written === '1e0' ? [written, 400, undefined] : [written, 201, written.replace(/0$/, '')],
    );
  }
  expect((await rig.admin('GET', `/accounts/${id}/balance`)).body.posted).toBe('999999998.22345679');
});

test.each([
  ['credits', { credits: '0' }],
  ['credits', { credits: '-1' }],
  ['credits', { credits: '1000000000.000000001' }],
  ['credits', { credits: '0.0000000001' }],
  ['credits', { credits: '1e3' }],
  ['credits', { credits: ' 1' }],
  ['credits', { credits: true }],
  ['credits', { credits: undefined }],
  ['kind', { kind: 'gift' }],
  ['kind', { kind: undefined }],
  ['reference', { reference: undefined }],
  ['reference', { reference: '' }],
  ['reference', { reference: 'x'.repeat(256) }],
  ['priority', { priority: 1.5 }],
  ['priority', { priority: 1e9 }],
  ['starts_at', { starts_at: 'tomorrow' }],
  ['expires_at', { expires_at: '2020-01-01T00:00:00Z' }],
  ['expires_at', { starts_at: '2100-01-01T00:00:00Z', expires_at: '2099-01-01T00:00:00Z' }],
  ['expires_at', { expires_at: '2100-02-30T00:00:00Z' }],
  ['expires_at', { expires_at: '0000-01-01T00:00:00Z' }],
  ['expires_at', { expires_at: '9999-12-31T23:59:59-01:00' }],
  ['usd', { usd: '5' }],
  ['paid', { paid: '10 usd' }],
  ['paid.amount_minor', { paid: { currency: 'usd' } }],
  ['paid.amount_minor', { paid: { amount_minor: 9.99, currency: 'usd' } }],
  ['paid.amount_minor', { paid: { amount_minor: -1, currency: 'usd' } }],
  ['paid.currency', { paid: { amount_minor: 1000 } }],
  ['paid.currency', { paid: { amount_minor: 1000, currency: 'dollars' } }],
  ['paid.tax', { paid: { amount_minor: 1000, currency: 'usd', tax: 1 } }],
])('a grant refuses a bad %s by name (%j), and nothing moves', async (param, wrong) => {
  const { id } = await createCustomer(rig, null);
  const { status, body } = await grantTo(id, { ...GRANT, ...wrong });
  expect(status).toBe(400);
  const message = expect.stringContaining(`'${param}'`);
  expect(body).toEqual(errorBody('invalid_request', 'invalid_request_error', param, message));
  expect(await lotsOf(id)).toEqual([]);
});

test('a balance beyond 10⁹ credits is refused, and nothing moves', async () => {
  const { id } = await createCustomer(rig, null);
  expect((await grantTo(id, { ...GRANT, credits: '1000000000' })).status).toBe(201);
  const { status, body } = await grantTo(id, { ...GRANT, credits: '0.000000001', reference: 'more' });
  expect(status).toBe(400);
  expect(body).toEqual(
    errorBody('invalid_request', 'invalid_request_error', 'credits', expect.stringContaining('10⁹')),
  );
  expect((await rig.admin('GET', `/accounts/${id}/balance`)).body.posted).toBe('1000000000');
});

test('a ledger is listed newest first, page by page, each entry once', async () => {
  const customer = await createCustomer(rig, '10');
  for (let i = 0; i < 3; i++) {
    await nextMillisecond();
    await (await openRequest(rig, customer, '2')).settle('1', { usage: { input: 1000 } });
  }
  const seen: Json[] = [];
  for (let cursor = ''; ; ) {
    const { body } = await rig.admin('GET', `/accounts/${customer.id}/ledger?limit=2${cursor}`);
    seen.push(...(body.data as Json[]));
    if (!body.has_more) break;
    cursor = `&cursor=${body.next_cursor}`;
  }
  expect(seen.map(({ seq }) => seq)).toEqual([4, 3, 2, 1]);
  expect(seen.map(({ credits }) => credits)).toEqual(['-1', '-1', '-1', '10']);
  expect(seen.map(({ balance_after }) => balance_after)).toEqual(['7', '8', '9', '10']);
});

test('nobody has no credits: 404 for an account that is not there', async () => {
  for (const account of ['acct_0000000000001', 'acct_nonsense']) {
    const expected = errorBody('not_found', 'invalid_request_error', null, expect.any(String));
    expect(await grantTo(account, GRANT)).toMatchObject({ status: 404, body: expected });
    for (const what of ['balance', 'ledger', 'requests']) {
      const answer = await rig.admin('GET', `/accounts/${account}/${what}`);
      expect(answer).toMatchObject({ status: 404, body: expected });
    }
  }
});
