/** Comparing what stands here with Stripe. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { tellChange } from '../accounts/audit.ts';
import { TollgateError } from '../errors.ts';
import { readInput } from '../errors-input.ts';
import { instant } from '../lib/http-json.ts';
import { about } from '../openapi/about.ts';
import { count, id, time } from '../openapi/shapes.ts';
import { stripeFault } from '../payments/faults.ts';
import { presentReport } from '../payments/reconcile/present.ts';
import { reconcile } from '../payments/reconcile/reconcile.ts';
import { type AdminDeps, actorOf } from './shared.ts';

const form = z.strictObject({
  from: instant
    .refine((from) => from.getTime() <= Date.now(), 'must not be in the future')
    .nullable()
    .default(null)
    .meta({ description: 'null: 30 days ago.' }),
  repair: z.boolean('must be true or false').default(false),
});

const report = z
  .strictObject({
    from: time,
    to: time,
    repair: z.boolean(),
    looked: count,
    differences: z.array(
      z.strictObject({
        kind: z.string(),
        account_id: id('acct').nullable(),
        object: z.string(),
        expected: z.string(),
        found: z.string(),
        mended: z.boolean(),
        advice: z.string().nullable(),
      }),
    ),
    unread: z.array(z.strictObject({ object: z.string(), error: z.string() })),
    ok: z.boolean(),
  })
  .meta({ id: 'Reconciliation' });

const call = about({
  summary:
    'Compares payments, subscriptions and events with Stripe, and names each difference; with repair, brings it in line.',
  body: form,
  answer: report,
  errors: ['conflict', 'stripe_disabled', 'stripe_unavailable', 'stripe_refused'],
});

export function registerReconcile(scope: FastifyInstance, { pool, payments }: AdminDeps): void {
  scope.post('/stripe/reconcile', call, async (request) => {
    const { from, repair } = readInput(form, request.body);
    if (payments === null) throw new TollgateError('stripe_disabled');
    const made = await reconcile(payments, { from, repair }).catch((error: unknown) => {
      throw error instanceof TollgateError ? error : stripeFault(error, payments.log);
    });
    const mended = made.differences.filter((one) => one.mended).length;
    // Each change is an entry of the ledger or a statement of its own: this says who asked for them.
    if (mended > 0) {
      const after = { from: made.from.toISOString(), mended };
      const target = 'stripe';
      await tellChange(pool, {
        author: actorOf(request),
        action: 'stripe.repair',
        account: null,
        target,
        before: null,
        after,
        reason: null,
      });
    }
    return presentReport(made);
  });
}
