/** `stripe setup` leads to one endpoint with our events in our version, however often it is run and whatever was there. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EVENT_TYPES } from '../../../src/payments/events.ts';
import { API_VERSION } from '../../../src/payments/stripe.ts';
import { endpointUrl, setUpEndpoint } from '../../../src/payments/webhook-endpoint.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';

const URL = 'https://gateway.example.com/webhooks/stripe';
let stripe: TestStripe;
beforeAll(async () => {
  stripe = await startStripe();
});
afterAll(() => stripe.close());
beforeEach(async () => {
  for (const { id } of await all()) await stripe.client.webhookEndpoints.del(id);
});

const all = async () => (await stripe.client.webhookEndpoints.list({ limit: 100 })).data;
const setUp = (prune = false) => setUpEndpoint(stripe.client, URL, { prune });

describe('setup', () => {
  it('makes an endpoint, whose secret is shown once', async () => {
    const made = await setUp();
    expect(made).toMatchObject({ outcome: 'made', apiVersion: API_VERSION, others: [] });
    expect(made.secret).toMatch(/^whsec_/);
    expect(await all()).toMatchObject([
      { id: made.id, url: URL, api_version: API_VERSION, enabled_events: [...EVENT_TYPES], status: 'enabled' },
    ]);
    expect(await setUp()).toEqual({ ...made, outcome: 'unchanged', secret: null });
    expect(await all()).toHaveLength(1);
  });

  it('adds the events that lack, keeps those that somebody added, and enables what was disabled', async () => {
    const { id } = await setUp();
    await stripe.client.webhookEndpoints.update(id, {
      enabled_events: ['payout.paid', 'invoice.paid'],
      disabled: true,
    });
    expect(await setUp()).toMatchObject({ id, outcome: 'updated', secret: null });
    const [endpoint] = await all();
    expect(endpoint!.status).toBe('enabled');
    expect(new Set(endpoint!.enabled_events)).toEqual(new Set([...EVENT_TYPES, 'payout.paid']));
  });

  it('leaves an endpoint that gets every event, and those of other URLs, as they are', async () => {
    const other = await setUpEndpoint(stripe.client, 'https://other.example.com/', { prune: true });
    await stripe.client.webhookEndpoints.create({
      url: URL,
      enabled_events: ['*'],
      api_version: API_VERSION as '2026-10-28.endive',
    });
    expect(await setUp(true)).toMatchObject({ outcome: 'unchanged', others: [] });
    expect((await all()).map(({ id }) => id)).toContain(other.id);
  });

  it('makes one beside one of another version, and deletes that when it is told to, once there is a new secret', async () => {
    const old = await stripe.client.webhookEndpoints.create({
      url: URL,
      enabled_events: ['*'],
      api_version: '2025-03-31.basil',
    });
    const left = { id: old.id, apiVersion: '2025-03-31.basil', deleted: false };
    // Told too early: nothing else sends events by a secret that the gateway knows.
    const made = await setUp(true);
    expect(made).toMatchObject({ outcome: 'made', secret: expect.any(String), others: [left] });
    expect(await setUp()).toMatchObject({ outcome: 'unchanged', others: [left] });
    expect(await setUp(true)).toMatchObject({ outcome: 'unchanged', others: [{ ...left, deleted: true }] });
    expect((await all()).map(({ id }) => id)).toEqual([made.id]);
  });
});

it.each([
  ['https://gateway.example.com', URL],
  ['https://gateway.example.com/', URL],
  ['https://example.com/pay/webhooks/stripe', 'https://example.com/pay/webhooks/stripe'],
  ['http://localhost:8080', 'http://localhost:8080/webhooks/stripe'],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080/webhooks/stripe'],
])('%s → %s', (text, url) => {
  expect(endpointUrl(text)).toBe(url);
});

it.each([
  'gateway.example.com',
  'http://gateway.example.com',
  'ftp://localhost',
  'https://u:p@example.com',
  'https://example.com/?a=b',
  '',
])('no URL for Stripe: "%s"', (text) => {
  expect(() => endpointUrl(text)).toThrow(/URL/);
});
