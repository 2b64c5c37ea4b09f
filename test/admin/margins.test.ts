/** What a request cost us, and what it left, on its receipt: for the owner alone, and never a guess. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { putEntry } from '../../src/catalog/store.ts';
import { endOwner } from '../../src/ledger/owners.ts';
import { type Customer, createCustomer, createRig, type Json, openRequest, type Rig } from './rig.ts';

let rig: Rig;
let customer: Customer;
beforeAll(async () => {
  rig = await createRig();
  // Requests of the rig froze the third version; what comes after it must not matter.
  const plain = (cost: string, route?: string) => ({
    routes: [
      { provider: 'demo', model: 'other', cost: { input: '9', output: '9' } },
      { provider: 'demo', model: 'plain', ...(route === undefined ? {} : { cost: { input: route, output: '1' } }) },
      { provider: 'spare', model: 'plain' },
    ],
    cost: { input: cost, output: '2' },
  });
  for (const [cost, route] of [['7'], ['7'], ['0.6', '0.4'], ['7', '7']] as [string, string?][]) {
    await putEntry(rig.database.pool, 'model', 'plain', plain(cost, route), 'test');
  }
});
afterAll(() => rig.close());
beforeEach(async () => {
  customer = await createCustomer(rig, '100');
});

const receipt = async (id: string): Promise<Json> => (await rig.admin('GET', `/requests/${id}`)).body;
const attempt = (provider: string, model: string) => ({ provider, model, status: 200, outcome: 'answered', ms: 1 });
const usage = { input: 800, cached_input: 100, output: 200 };
const UNKNOWN = { provider_cost_usd: null, provider_cost: [], margin: null };

describe('the admin API', () => {
  test('says what the route that served cost, by the version that was frozen', async () => {
    const request = await openRequest(rig, customer, '2');
    await request.settle('1.3', { usage });
    expect(await receipt(request.id)).toMatchObject({
      provider_cost_usd: '0.00056',
      provider_cost: [
        { unit: 'input', quantity: 800, unit_price_usd: '0.4', per: 1_000_000, usd: '0.00032' },
        { unit: 'cached_input', quantity: 100, unit_price_usd: '0.4', per: 1_000_000, usd: '0.00004' },
        { unit: 'output', quantity: 200, unit_price_usd: '1', per: 1_000_000, usd: '0.0002' },
      ],
      margin: { credits: '0.74', usd: '0.00074' },
    });
    const listed = await rig.admin('GET', `/accounts/${customer.id}/requests`);
    expect(listed.body.data).toEqual([await receipt(request.id)]);
  });

  test('takes the cost of the model for a route without one of its own, and of the attempt that served', async () => {
    const request = await openRequest(rig, customer, '2');
    await request.settle('1.3', { usage, attempts: [attempt('demo', 'plain'), attempt('spare', 'plain')] });
    expect(await receipt(request.id)).toMatchObject({ provider_cost_usd: '0.00094', margin: { credits: '0.36' } });
  });

  test('takes what was given back off the margin, which may be below 0', async () => {
    const request = await openRequest(rig, customer, '2');
    await request.settle('1.3', { usage });
    await rig.admin('POST', `/requests/${request.id}/refund`, { credits: '1', reason: 'kindness' });
    expect(await receipt(request.id)).toMatchObject({ margin: { credits: '-0.26', usd: '-0.00026' } });
  });

  test('knows no cost of a route that the version does not have, or of a unit without one', async () => {
    const strange = await openRequest(rig, customer, '2');
    await strange.settle('1.3', { usage, attempts: [attempt('elsewhere', 'plain')] });
    const searching = await openRequest(rig, customer, '2');
    await searching.settle('1.3', { usage: { ...usage, 'tool:web_search': 1 } });
    const unlisted = await openRequest(rig, customer, '2');
    await unlisted.settle('1.3', { usage, priceVersion: 99 });
    for (const { id } of [strange, searching, unlisted]) expect(await receipt(id)).toMatchObject(UNKNOWN);
  });

  test('knows no cost of what runs, was released or recovered', async () => {
    const [held, released] = [await openRequest(rig, customer, '2'), await openRequest(rig, customer, '2')];
    await released.release();
    for (const { id } of [held, released]) expect(await receipt(id)).toMatchObject(UNKNOWN);
    await endOwner(rig.database.pool, rig.owner);
    expect(await receipt(held.id)).toMatchObject({ status: 'recovered', ...UNKNOWN });
  });
});

test('customers are not told what a request cost us', async () => {
  const request = await openRequest(rig, customer, '2');
  await request.settle('1.3', { usage });
  const { body } = await rig.customer(`/requests/${request.id}`, customer.key);
  const { data } = (await rig.customer('/requests', customer.key)).body as { data: Json[] };
  for (const shown of [body, data[0]!]) {
    expect(Object.keys(shown).filter((name) => /cost|margin/.test(name))).toEqual([]);
  }
});
