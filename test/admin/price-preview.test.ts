/** What recent requests would have cost at another price: the same usage, rated again; nothing is changed. */
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { formatCredits } from '../../src/lib/money.ts';
import { type Customer, createCustomer, createRig, type Json, openRequest, type Rig } from './rig.ts';

let rig: Rig;
let customer: Customer;
let model: string;
let serial = 0;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());
beforeEach(async () => {
  model = `vendor/m${++serial}`;
  await put({ routes: ROUTES, price: PRICE, cost: { input: '0.5', output: '1' } });
  customer = await createCustomer(rig, '1000');
});

const ROUTES = [{ provider: 'demo', model: 'plain' }];
const PRICE = { input: '1', output: '2' };
const TIME = expect.stringMatching(/Z$/);
const put = (body: Json) => rig.admin('PUT', `/models/${model}`, body);
const preview = (body: Json) => rig.admin('POST', `/models/${model}/prices/preview`, body);
const attempts = [{ provider: 'demo', model: 'plain', status: 200, outcome: 'answered', ms: 1 }];
/** A request as it was settled at 1 and 2 USD. */
async function settled(input: number, output: number, more: object = {}): Promise<string> {
  const request = await openRequest(rig, customer, '10');
  const credits = formatCredits(BigInt(input + 2 * output) * 1_000_000n);
  await request.settle(credits, { model, priceVersion: 1, usage: { input, output }, attempts, ...more });
  return request.id;
}

test('a preview is what rating by hand says, of the charge then, the present and the new price, and the cost', async () => {
  const ids = [await settled(1000, 500), await settled(10, 5)];
  await openRequest(rig, customer, '1');
  await (await openRequest(rig, customer, '1')).settle('0.5', { model: 'another', usage: { input: 500 } });
  await rig.admin('POST', `/models/${model}/prices`, { price: { input: '2', output: '2' } });
  expect((await preview({ price: { input: '3', output: '1' }, cost: { input: '0.25', output: '1' } })).body).toEqual({
    model,
    days: 30,
    looked_at: { charges: expect.any(Number), from: TIME, to: TIME, complete: true },
    requests: 2,
    requests_at_other_prices: 0,
    charged: '2.02',
    at_present_price: '3.03',
    at_new_price: '3.535',
    provider_cost: { requests: 2, present_usd: '0.00101', new_usd: '0.0007575' },
    largest_changes: [
      { request_id: ids[0], account_id: customer.id, charged: '2', at_new_price: '3.5', change: '1.5' },
      { request_id: ids[1], account_id: customer.id, charged: '0.02', at_new_price: '0.035', change: '0.015' },
    ],
  });
  const { data } = (await rig.admin('GET', `/models/${model}/prices`)).body as { data: Json[] };
  expect(data).toHaveLength(2);
});

test('a preview is the sum of all, for any usage and price', async () => {
  const count = fc.nat(5_000);
  const usd = fc.integer({ min: 1, max: 20_000_000 }).map((millionths) => (millionths / 1e6).toFixed(6));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(count, count), { minLength: 1, maxLength: 5 }),
      usd,
      usd,
      async (used, input, output) => {
        model = `vendor/p${++serial}`;
        await put({ routes: ROUTES, price: PRICE });
        for (const [inputs, outputs] of used) await settled(inputs, outputs);
        // At 1,000 credits to the dollar a token costs as many nano-credits as a million of them do millionths of a dollar.
        const millionths = (text: string): bigint => BigInt(text.replace('.', ''));
        const each = used.map(
          ([inputs, outputs]) => BigInt(inputs) * millionths(input) + BigInt(outputs) * millionths(output),
        );
        const answer = (await preview({ price: { input, output } })).body;
        expect(answer).toMatchObject({
          requests: used.length,
          at_new_price: formatCredits(each.reduce((a, b) => a + b, 0n)),
        });
      },
    ),
    { numRuns: 10 },
  );
});

test('a preview leaves out what was charged at the price of a plan or an account, and says how much that was', async () => {
  await settled(1000, 0);
  await settled(1000, 0, { priceSource: { kind: 'plan', plan: 'pro', version: 1 } });
  await settled(1000, 0, { priceSource: { kind: 'account', version: 1 } });
  expect((await preview({ price: { input: '2', output: '2' } })).body).toMatchObject({
    ...{ requests: 1, requests_at_other_prices: 2, charged: '1', at_new_price: '2' },
  });
});

test('a preview lets an estimate stay within its hold, as it is charged', async () => {
  await settled(1000, 0, { usageSource: 'estimated', held: 1_200_000_000n });
  expect((await preview({ price: { input: '2', output: '2' } })).body).toMatchObject({ at_new_price: '1.2' });
});

test('a preview of a model that nobody used is empty, and of the days asked for only', async () => {
  const empty = {
    requests: 0,
    charged: '0',
    at_new_price: '0',
    largest_changes: [],
    looked_at: { from: null, to: null, complete: true },
  };
  expect((await preview({ price: PRICE })).body).toMatchObject(empty);
  await copies(await settled(1000, 0), 3, '2 days');
  expect((await preview({ price: PRICE, days: 1 })).body).toMatchObject({
    requests: 1,
    looked_at: { complete: true },
  });
  expect((await preview({ price: PRICE, days: 3 })).body).toMatchObject({ requests: 4, charged: '4' });
});

test.each([
  ['price', {}],
  ['days', { price: PRICE, days: 0 }],
  ['days', { price: PRICE, days: 367 }],
  ['effective_at', { price: PRICE, effective_at: '2999-01-01T00:00:00Z' }],
] as [string, Json][])('a preview names a bad %s: %j', async (param, body) => {
  expect(await preview(body)).toMatchObject({ status: 400, body: { error: { param } } });
});

test('a preview never rates more than the newest 1,000 requests, and says that these are not all', async () => {
  const first = await settled(1, 0);
  await copies(first, 1500, '0 days');
  const { body } = await preview({ price: PRICE });
  expect(body).toMatchObject({ requests: 1000, charged: '1', looked_at: { complete: false } });
});

test('a preview finds what lies far behind the newest charges', async () => {
  const [far, mine] = [await settled(1000, 0), model];
  model = 'another';
  await copies(await settled(1, 0), 12_000, '0 days');
  model = mine;
  const near = await settled(2000, 0);
  const { body } = await preview({ price: PRICE });
  expect(body).toMatchObject({ requests: 2, charged: '3', looked_at: { complete: true } });
  expect((body.largest_changes as Json[]).map(({ request_id }) => request_id).sort()).toEqual([far, near].sort());
  expect((body.looked_at as { charges: number }).charges).toBeGreaterThan(12_000);
});

/** As many more entries as that of a request, of an age. */
async function copies(requestId: string, count: number, age: string): Promise<void> {
  const uuid = requestId.slice(4).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  await rig.database.pool.query(
    `INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, key_id, at, receipt)
       SELECT account_id, uuid_at(clock_timestamp()), kind, 1000 + i, amount, balance_after, debit, credit, key_id,
         clock_timestamp() - $3::interval, receipt FROM entries, generate_series(1, $2) i WHERE id = $1`,
    [uuid, count, age],
  );
}
