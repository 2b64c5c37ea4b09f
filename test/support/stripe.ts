/**
 * Stripe for tests: the simulator of `stripe-sim/`, in this process or as its own, the real `stripe` library talking to
 * it, and the environment that points Tollgate at it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Stripe from 'stripe';
import type { Control } from './stripe-sim/control.ts';
import { directClient } from './stripe-sim/direct.ts';
import { type SimulatorOptions, startSimulator } from './stripe-sim/simulator.ts';

export type { Control } from './stripe-sim/control.ts';

export interface TestStripe {
  url: string;
  /** The real library, without retries of its own. */
  client: Stripe;
  /** The same without a socket between, for thousands of calls; out of process it is `client`. */
  direct: Stripe;
  /** What customers, banks and clocks do; events, faults, log, oracle. The same verbs in process and out of it. */
  sim: Control;
  env: { STRIPE_SECRET_KEY: string; STRIPE_WEBHOOK_SECRET: string; STRIPE_API_BASE: string };
  close(): Promise<void>;
}

export interface StripeOptions extends SimulatorOptions {
  /** True unless told: quick, and functions can be webhook endpoints. False: its own process. */
  inProcess?: boolean;
}

export async function startStripe(options: StripeOptions = {}): Promise<TestStripe> {
  const key = options.live === true ? 'sk_live_simulated' : 'sk_test_simulated';
  const started = await (options.inProcess === false ? spawned(options) : local(options));
  const { url, secret, control, close } = started;
  return {
    url,
    client: stripeClient(url, key),
    direct: started.direct?.(key) ?? stripeClient(url, key),
    sim: control,
    env: { STRIPE_SECRET_KEY: key, STRIPE_WEBHOOK_SECRET: secret, STRIPE_API_BASE: url },
    close,
  };
}

/** The real library, pointed at the simulator. */
export function stripeClient(url: string, key = 'sk_test_simulated', maxNetworkRetries = 0): Stripe {
  const { hostname, port } = new URL(url);
  return new Stripe(key, { host: hostname, port, protocol: 'http', maxNetworkRetries, telemetry: false });
}

interface Started {
  url: string;
  secret: string;
  control: Control;
  direct?: (key: string) => Stripe;
  close(): Promise<void>;
}

async function local(options: StripeOptions): Promise<Started> {
  const { url, secret, control, api, delivery, close } = await startSimulator(options);
  return { url, secret, control, close, direct: (key) => directClient(api, delivery, key) };
}

async function spawned(options: StripeOptions): Promise<Started> {
  const main = fileURLToPath(new URL('./stripe-sim/main.ts', import.meta.url));
  const args = [main];
  if (options.port !== undefined) args.push('--port', String(options.port));
  if (options.seed !== undefined) args.push('--seed', String(options.seed));
  if (options.live === true) args.push('--live');
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const line = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  if (typeof line[0] !== 'string') throw new Error('the Stripe simulator did not start');
  const { url, secret } = JSON.parse(line[0]) as { url: string; secret: string };
  return {
    url,
    secret,
    control: remote(url),
    async close() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** The verbs of a simulator that runs elsewhere. */
export function remote(url: string): Control {
  return new Proxy({} as Control, {
    get(_target, verb) {
      if (typeof verb !== 'string' || verb === 'then') return undefined;
      return async (...args: unknown[]): Promise<unknown> => {
        const answer = await fetch(`${url}/_sim/${verb}`, { method: 'POST', body: JSON.stringify(args) });
        const result: unknown = await answer.json();
        if (answer.ok) return result;
        throw new Error(String((result as { error: unknown }).error));
      };
    },
  });
}
