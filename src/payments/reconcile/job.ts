/** Compares with Stripe once a day, in one process: what differs is told in a line of the log, and by a gauge. Nothing is repaired by itself. */
import { Gauge, type Registry } from 'prom-client';
import { runOnce } from '../../db/job-runs.ts';
import type { Job } from '../../lib/job.ts';
import type { PaymentDeps } from '../deps.ts';
import { reconcile } from './reconcile.ts';

const DAY_MS = 86_400_000;
/** How often a process looks whether it is time. */
const LOOK_MS = 600_000;
/** Should its process die, another compares after so long. */
const LEASE_MS = 4 * 3_600_000;

export function reconcileJob(deps: PaymentDeps, registry: Registry): Job {
  const remaining = new Gauge({
    name: 'tollgate_stripe_differences',
    help: 'What differed between Stripe and this gateway when they were last compared by this process: alert on it.',
    registers: [registry],
  });
  return {
    name: 'stripe-reconcile',
    everyMs: LOOK_MS,
    run: async (signal) => {
      await runOnce(deps.pool, 'stripe-reconcile', { everyMs: DAY_MS, leaseMs: LEASE_MS }, async (lastBegan) => {
        // A gateway that has just been set up has nothing to compare: it begins to count the day.
        if (lastBegan === null) return;
        const { differences, unread, looked, ok } = await reconcile(deps, { from: null, repair: false, signal });
        remaining.set(differences.length + unread.length);
        const told = { looked, differences: differences.length, unread: unread.length };
        if (ok) deps.log.info(told, 'Stripe and the ledger agree');
        else deps.log.error(told, 'Stripe and the ledger differ: tollgate stripe reconcile names each difference');
      });
      return false;
    },
  };
}
