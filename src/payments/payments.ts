/** Puts the parts of `payments/` together for `app.ts`: what is served, and what runs beside it. */
import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { Config } from '../config.ts';
import type { Job, Wake } from '../lib/job.ts';
import type { PaymentDeps, SellingDeps } from './deps.ts';
import { INBOX_JOB, Inbox } from './inbox.ts';
import { prune } from './inbox-rows.ts';
import { registerIngress } from './ingress.ts';
import { PaymentMetrics } from './metrics.ts';
import { pollerJob } from './poller.ts';
import { rechargeJobs } from './recharge/jobs.ts';
import { reconcileJob } from './reconcile/job.ts';
import { registerReturnPage } from './return-page.ts';
import { openStripe } from './stripe.ts';
import { sync } from './sync/sync.ts';

const DAY_MS = 86_400_000;

export interface Payments {
  deps: SellingDeps;
  jobs: readonly Job[];
  /** Serves what Stripe and its customers call by themselves: no key of ours is asked for. */
  register(http: FastifyInstance): Promise<void>;
}

export interface PaymentOptions extends Omit<PaymentDeps, 'stripe'> {
  config: Config;
  registry: Registry;
  wake: Wake;
}

/** Null: there is no key, so nothing is sold, and no webhook is taken. */
export function openPayments({ config, registry, wake, ...rest }: PaymentOptions): Payments | null {
  const { pool, clock, log } = rest;
  const stripe = openStripe(config.stripe);
  const { webhookSecrets: secrets, automaticTax } = config.stripe;
  if (stripe === null) {
    if (secrets.length > 0) log.warn('STRIPE_WEBHOOK_SECRET is set without STRIPE_SECRET_KEY: webhooks are refused');
    return null;
  }
  if (secrets.length === 0) {
    log.warn(
      'STRIPE_WEBHOOK_SECRET is not set: no webhooks are taken, so renewals, refunds and late payments go unheard; see tollgate stripe setup',
    );
  }
  const deps: SellingDeps = { ...rest, stripe, publicUrl: config.server.publicUrl, automaticTax };
  const metrics = new PaymentMetrics(pool, registry);
  const stored = (): void => wake(INBOX_JOB);
  const inbox = new Inbox({ deps, sync, metrics, wake: stored });
  return {
    deps,
    jobs: [
      inbox,
      pollerJob({ deps, stored }),
      { name: 'stripe-inbox-prune', everyMs: DAY_MS, run: () => prune(pool) },
      ...rechargeJobs(deps),
      reconcileJob(deps, registry),
    ],
    register: async (http) => {
      registerReturnPage(http, deps);
      const { livemode } = stripe;
      if (secrets.length > 0) await registerIngress(http, { pool, livemode, secrets, clock, log, metrics, stored });
    },
  };
}
