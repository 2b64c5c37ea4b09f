/** The example app as its reader starts it, in a process of its own, beside a gateway. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ADMIN_KEY, closeWorld, createWorld, startGateway, type TestGateway, type World } from '../support/gateway.ts';
import { startStripe, type TestStripe } from '../support/stripe.ts';

const APP = join(import.meta.dirname, '../../examples/saas/app.ts');
const CATALOG = `
models:
  demo/chat: { routes: [{ provider: demo, model: demo-chat }], max_output_tokens: 1000, price: { input: 1, output: 2 } }
operations:
  image: { credits: 20, feature: image_generation }
plans:
  free: { default: true, models: ["demo/*"], included_credits: { credits: 50, every: month, rollover: none } }
  pro: { models: ["*"], features: [image_generation] }
packs:
  starter: { price: { usd: 10 }, credits: 10000 }
`;

let world: World;
let gateway: TestGateway;
let stripe: TestStripe;
let app: { url: string; child: ChildProcess };

beforeAll(async () => {
  stripe = await startStripe();
  world = await createWorld(stripe.env, '  demo: { kind: demo }\n');
  writeFileSync(join(world.folder, 'catalog.yaml'), CATALOG);
  gateway = await startGateway(world);
  const made = await admin('POST', 'service-keys', {
    name: 'saas',
    scopes: ['inference', 'read', 'consume', 'billing'],
    create_accounts: true,
  });
  app = await startApp(made.key as string);
});
afterAll(async () => {
  const gone = once(app.child, 'exit');
  app.child.kill();
  await gone;
  await gateway.close();
  await closeWorld(world);
  await stripe.close();
});

async function admin(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const response = await fetch(`${gateway.url}/admin/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  expect(response.ok, JSON.stringify(answer)).toBe(true);
  return answer;
}

async function startApp(key: string): Promise<typeof app> {
  const child = spawn(process.execPath, [APP], {
    env: { PATH: process.env.PATH ?? '', TOLLGATE_URL: gateway.url, TOLLGATE_SERVICE_KEY: key, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const chunk of child.stdout!) {
    const url = /listens on (\S+)/.exec(String(chunk))?.[1];
    if (url !== undefined) return { url, child };
  }
  throw new Error('the app did not start');
}

/** A browser with its cookie. */
async function signUp(email: string): Promise<(path: string, form?: Record<string, string>) => Promise<Response>> {
  const made = await fetch(`${app.url}/signup`, {
    method: 'POST',
    body: new URLSearchParams({ email }),
    redirect: 'manual',
  });
  expect(made.status).toBe(303);
  const cookie = made.headers.get('set-cookie')!.split(';')[0]!;
  return (path, form) =>
    fetch(app.url + path, {
      headers: { cookie },
      redirect: 'manual',
      ...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
    });
}

it('the example is at most 150 lines', () => {
  expect(readFileSync(APP, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(150);
});

it('a sign-up makes an account with what the plan includes; chat is charged; the paywall says why, until the plan is bought', async () => {
  const user = await signUp('ada@example.com');
  expect(await (await user('/')).text()).toContain('<b id=balance>50</b> credits');
  const said = await user('/chat', { message: 'Hello' });
  expect(said.status).toBe(200);
  expect((await said.text()).length).toBeGreaterThan(0);
  const { available } = (await (await user('/balance')).json()) as { available: string };
  expect(Number(available)).toBeLessThan(50);

  const refused = await user('/draw', { id: 'drawing-1' });
  expect(refused.status).toBe(402);
  expect(await refused.text()).toContain('image_generation');

  const { data } = (await admin('GET', 'accounts')) as { data: { id: string }[] };
  await admin('PATCH', `accounts/${data[0]!.id}`, { plan: 'pro' });
  for (const answer of ['for 20 credits', 'drawn before']) {
    const drawn = await user('/draw', { id: 'drawing-1' });
    expect([drawn.status, await drawn.text()]).toEqual([200, expect.stringContaining(answer)]);
  }
  const after = (await (await user('/balance')).json()) as { available: string };
  expect(Number(after.available)).toBeCloseTo(Number(available) - 20, 6);
});

it('who buys credits is sent to Stripe, and comes back to the app', async () => {
  const user = await signUp('buyer@example.com');
  expect(await (await user('/')).text()).toContain('action=/buy');
  const { status, headers } = await user('/buy', {});
  const [session] = await stripe.sim.objects<Stripe.Checkout.Session>('checkout.session');
  expect([status, headers.get('location')]).toEqual([303, session!.url]);
  expect(session).toMatchObject({ amount_total: 1000, success_url: `${app.url}/?session_id={CHECKOUT_SESSION_ID}` });
});

it('one user does not see the credits of another, and nobody is served without signing up', async () => {
  const [one, other] = [await signUp('a@example.com'), await signUp('b@example.com')];
  await one('/chat', { message: 'Spend something' });
  const balances = await Promise.all(
    [one, other].map(async (user) => ((await (await user('/balance')).json()) as { available: string }).available),
  );
  expect(balances[1]).toBe('50');
  expect(balances[0]).not.toBe('50');
  expect((await fetch(`${app.url}/balance`)).status).toBe(401);
});
