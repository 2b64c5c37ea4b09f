/** What comes to /webhooks/stripe is Stripe's word, stored before it is answered; or it is refused, and changes nothing. */
import type { FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../../src/db/pool.ts';
import { createHttp } from '../../../src/http.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { Secret } from '../../../src/lib/settings.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import { registerIngress } from '../../../src/payments/ingress.ts';
import { PaymentMetrics } from '../../../src/payments/metrics.ts';
import { createRig, event, OTHER_SECRET, type Rig, rows, SECRET, signed } from './rig.ts';

let rig: Rig;
let http: FastifyInstance;
let registry: Registry;
let woken = 0;
const logged: string[] = [];

beforeAll(async () => {
  rig = await createRig();
  registry = new Registry();
  http = await served({ pool: rig.database.pool, registry, secrets: [SECRET, OTHER_SECRET] });
});
afterAll(async () => {
  await http.close();
  await rig.database.drop();
});
beforeEach(async () => {
  woken = 0;
  logged.length = 0;
  await rig.database.pool.query('DELETE FROM stripe_events');
});

async function served({ pool = rig.database.pool, registry = new Registry(), secrets = [SECRET], livemode = false }) {
  const log = Object.create(silentLogger) as typeof silentLogger;
  log.warn = (...args: unknown[]) => void logged.push(JSON.stringify(args));
  const app = createHttp({
    maxBodyBytes: 33_554_432,
    headersTimeoutMs: 20_000,
    requestTimeoutMs: 60_000,
    clock: systemClock,
    log: silentLogger,
  });
  await registerIngress(app, {
    pool,
    livemode,
    secrets: secrets.map((secret) => new Secret(secret)),
    clock: systemClock,
    log,
    metrics: new PaymentMetrics(pool, registry),
    stored: () => void woken++,
  });
  return app;
}

async function send(body: string | Buffer, signature: string | null, app = http, more: Record<string, string> = {}) {
  const headers = { 'content-type': 'application/json; charset=utf-8', ...more };
  const response = await app.inject({
    method: 'POST',
    url: '/webhooks/stripe',
    headers: signature === null ? headers : { ...headers, 'stripe-signature': signature },
    payload: body,
  });
  return {
    status: response.statusCode,
    body: response.json() as { received?: boolean; error?: { code: string; message: string } },
  };
}

const metric = async (line: string): Promise<boolean> => (await registry.metrics()).includes(line);

describe('a webhook', () => {
  it('is stored as it was sent, and then answered', async () => {
    const sent = event('checkout.session.completed', { object: 'checkout.session', id: 'cs_test_1' });
    const body = JSON.stringify(sent, null, 2);
    expect(await send(body, signed(body))).toEqual({ status: 200, body: { received: true } });
    const [row] = await rows(rig);
    expect(row).toMatchObject({
      event_id: sent.id,
      object_kind: 'checkout.session',
      object_id: 'cs_test_1',
      state: 'waiting',
      attempts: 0,
      source: 'webhook',
      api_version: sent.api_version,
    });
    expect(row!.body!.toString()).toBe(body);
    expect(woken).toBe(1);
    expect(await metric('tollgate_stripe_events_received_total{type="checkout.session.completed",known="no"} 1')).toBe(
      true,
    );
    expect(await metric('tollgate_stripe_inbox_waiting 1')).toBe(true);
  });

  it('that comes again, also at the same time, is answered alike and stored once', async () => {
    const body = JSON.stringify(event());
    const answers = await Promise.all(Array.from({ length: 10 }, () => send(body, signed(body))));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(await rows(rig)).toHaveLength(1);
    expect(woken).toBe(1);
  });

  it('may be signed with any of our secrets, while they are rotated', async () => {
    for (const secret of [SECRET, OTHER_SECRET]) {
      const body = JSON.stringify(event());
      expect((await send(body, signed(body, secret))).status).toBe(200);
    }
    const body = JSON.stringify(event());
    const both = `${signed(body, 'whsec_old')},${signed(body, OTHER_SECRET).split(',')[1]}`;
    expect((await send(body, both)).status).toBe(200);
  });

  it('of another version of the API is taken, and told of once', async () => {
    for (const version of ['2019-01-01', '2019-01-01', null]) {
      const body = JSON.stringify({ ...event(), api_version: version });
      expect((await send(body, signed(body))).status).toBe(200);
    }
    expect(logged.filter((line) => line.includes('2019-01-01'))).toHaveLength(1);
    expect((await rows(rig)).map((row) => row.api_version)).toEqual(['2019-01-01', '2019-01-01', null]);
  });

  it.each([
    ['a type that nobody knows', event('invented.thing.happened', { object: 'invented', id: 'inv_1' })],
    ['a type of no interest', event('payout.paid', { object: 'payout', id: 'po_1' })],
    ['an object without an id', event('invoice.upcoming', { object: 'invoice', id: undefined })],
    ['a connected account', { ...event(), account: 'acct_1connected' }],
  ])('of %s is stored as ignored', async (_what, sent) => {
    const body = JSON.stringify(sent);
    expect((await send(body, signed(body))).status).toBe(200);
    expect(await rows(rig)).toMatchObject([{ state: 'ignored', ended_at: expect.any(Date) }]);
  });

  it('needs no content type, and no key of ours', async () => {
    const body = JSON.stringify(event());
    const { status } = await send(body, signed(body), http, {
      'content-type': 'text/plain',
      authorization: 'Bearer nonsense',
    });
    expect(status).toBe(200);
  });
});

describe('refused, and nothing is stored:', () => {
  const now = Math.floor(Date.now() / 1000);
  const body = JSON.stringify(event());

  it.each<[string, string | null]>([
    ['no signature', null],
    ['an empty one', ''],
    ['nonsense', 'nonsense'],
    ['one of another secret', signed(body, 'whsec_another')],
    ['one of an empty secret', `t=${now},v1=${'0'.repeat(64)}`],
    ['one that is ten minutes old', signed(body, SECRET, now - 600)],
    ['one of another body', signed(`${body} `)],
    ['one without a time', signed(body).split(',')[1]!],
    ['one whose time was changed', signed(body, SECRET, now - 600).replace(String(now - 600), String(now))],
    ['one of another scheme', signed(body).replace('v1=', 'v0=')],
    ['a huge one', `t=${now},${'v1=aa,'.repeat(2_000)}`],
  ])('%s', async (_what, signature) => {
    const answer = await send(body, signature);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_signature' } } });
    expect(await rows(rig)).toEqual([]);
  });

  it.each<[string, string, string]>([
    ['not JSON', 'nonsense', 'invalid_json'],
    ['empty', ' ', 'invalid_json'],
    ['deep JSON', '['.repeat(500_000), 'invalid_json'],
    ['deep JSON that ends', `${'['.repeat(200_000)}${']'.repeat(200_000)}`, 'invalid_request'],
    ['no object', '[]', 'invalid_request'],
    ['no event', '{"object":"charge"}', 'invalid_request'],
    ['an id with NUL', JSON.stringify({ ...event(), id: 'evt_\0' }), 'invalid_request'],
    ['an id that is long', JSON.stringify({ ...event(), id: 'e'.repeat(300) }), 'invalid_request'],
    ['no mode', JSON.stringify({ ...event(), livemode: 'false' }), 'invalid_request'],
    ['a date beyond all calendars', JSON.stringify({ ...event(), created: 1e15 }), 'invalid_request'],
    ['an object of a prototype', '{"__proto__":{"id":"evt_1","object":"event"}}', 'invalid_request'],
    [
      'a thin event',
      JSON.stringify({
        id: 'evt_test_65',
        object: 'v2.core.event',
        type: 'v1.invoice.paid',
        livemode: false,
        created: '2026-11-30T00:00:00.000Z',
        related_object: { id: 'in_1', type: 'invoice', url: '/v1/invoices/in_1' },
      }),
      'invalid_request',
    ],
  ])('signed, but %s', async (_what, text, code) => {
    const answer = await send(text, signed(text));
    expect(answer).toMatchObject({ status: 400, body: { error: { code } } });
    expect(await rows(rig)).toEqual([]);
  });

  it('an event of the other mode, in words that help; the log says so once', async () => {
    for (let i = 0; i < 3; i++) {
      const live = JSON.stringify({ ...event(), livemode: true });
      const answer = await send(live, signed(live));
      expect(answer).toMatchObject({ status: 400, body: { error: { message: expect.stringContaining('live mode') } } });
    }
    expect(logged.filter((line) => line.includes('wrong_mode'))).toHaveLength(1);
    expect(await rows(rig)).toEqual([]);
    const live = await served({ livemode: true });
    const test = JSON.stringify(event());
    expect((await send(test, signed(test), live)).status).toBe(400);
  });

  it('a body above 1 MiB, in our own form', async () => {
    const large = JSON.stringify({ ...event(), filler: 'x'.repeat(1024 * 1024) });
    const answer = await send(large, signed(large));
    expect(answer).toMatchObject({ status: 413, body: { error: { code: 'request_too_large' } } });
    expect(await metric('tollgate_stripe_webhooks_refused_total{reason="too_large"} 1')).toBe(true);
  });

  it('and the log holds nothing of what was sent', async () => {
    const app = await served({});
    const planted = JSON.stringify({ ...event(), email: 'planted@example.com' });
    await send(planted, signed(planted, 'whsec_other'), app);
    await send(`${planted}planted`, signed(`${planted}planted`), app);
    expect(logged).toHaveLength(2);
    expect(logged.join()).not.toContain('planted');
  });
});

it('is answered 503 while the database is away, so that Stripe sends it again', async () => {
  const away = createPool({ url: 'postgres://u@127.0.0.1:9/none', max: 1, applicationName: 't', log: silentLogger });
  const app = await served({ pool: away });
  const body = JSON.stringify(event());
  const answer = await send(body, signed(body), app);
  expect(answer).toMatchObject({ status: 503, body: { error: { code: 'ledger_unavailable' } } });
  expect(woken).toBe(0);
  await app.close();
  await away.end();
});

it('is no URL for anything but POST', async () => {
  const answer = await http.inject({ method: 'GET', url: '/webhooks/stripe' });
  expect(answer.statusCode).toBe(404);
});
