/** `stripe setup` and `stripe replay`, each in a process of its own, beside a simulator. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Json } from '../admin/rig.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startStripe, type TestStripe } from '../support/stripe.ts';

let database: TestDatabase;
let stripe: TestStripe;
beforeAll(async () => {
  [database, stripe] = await Promise.all([createTestDatabase(), startStripe()]);
});
afterAll(async () => {
  await stripe.close();
  await database.drop();
});

function tollgate(args: string[], env: Record<string, string> = stripe.env) {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../bin/tollgate.js'), ...args], {
    env: { PATH: process.env.PATH ?? '', DATABASE_URL: database.url, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run = { status: null as number | null, out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    run.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    run.err += chunk;
  });
  return new Promise<typeof run>((resolve) => child.on('close', (status) => resolve({ ...run, status })));
}

test('setup makes the endpoint and prints the line for the environment; replay syncs an event that never came', async () => {
  const url = 'https://gateway.example.com';
  const { id } = await stripe.client.customers.create({ name: 'a' });
  await stripe.client.customers.update(id, { name: 'b' });
  const [lost] = await stripe.sim.events({ type: 'customer.updated', about: id });
  const [made, replayed, missing, off, plain] = await Promise.all([
    tollgate(['stripe', 'setup', '--url', url]),
    tollgate(['stripe', 'replay', lost!.id, '--json']),
    tollgate(['stripe', 'replay', 'evt_missing', '--json']),
    tollgate(['stripe', 'replay', lost!.id], {}),
    tollgate(['stripe', 'setup', '--url', 'http://gateway.example.com']),
  ]);
  expect(made).toMatchObject({ status: 0, err: '' });
  expect(made.out).toMatch(/^STRIPE_WEBHOOK_SECRET=whsec_\w+$/m);
  expect((await stripe.client.webhookEndpoints.list()).data).toMatchObject([{ url: `${url}/webhooks/stripe` }]);
  expect(replayed).toMatchObject({ status: 0, err: '' });
  expect(JSON.parse(replayed.out) as Json).toEqual({
    id: lost!.id,
    type: 'customer.updated',
    object_id: id,
    state: 'ignored',
    error: null,
  });
  expect(missing).toMatchObject({ status: 1, out: '' });
  expect(JSON.parse(missing.err)).toMatchObject({ error: { code: 'not_found' } });
  expect(off).toMatchObject({ status: 1, err: expect.stringContaining('STRIPE_SECRET_KEY') });
  expect(plain).toMatchObject({ status: 2, err: expect.stringContaining('https://') });
});
