/** `stripe reconcile`. */
import { linesOf, presentReport } from '../payments/reconcile/present.ts';
import { reconcile } from '../payments/reconcile/reconcile.ts';
import { type Command, UsageError } from './command.ts';
import { withPayments } from './payments.ts';

export const stripeReconcile: Command = {
  name: 'stripe reconcile',
  summary:
    'Compares payments, subscriptions and events of the last 30 days with Stripe, beside a running gateway, and names each difference; exit status 1 while one remains.',
  positional: [],
  options: {
    from: { value: 'DATE', help: 'since then: 2026-01-31, or an RFC 3339 time' },
    repair: { help: 'bring what differs in line, and look at it again' },
  },
  run: ({ values, switches, progress }) => {
    const from = values.from === undefined ? null : instantOf(values.from);
    return withPayments(async (deps) => {
      const report = await reconcile(deps, { from, repair: switches.has('repair'), progress });
      return { json: presentReport(report), text: linesOf(report).join('\n'), failed: !report.ok };
    });
  },
};

function instantOf(text: string): Date {
  const from = new Date(/^\d{4}-\d\d-\d\d/.test(text) ? text : Number.NaN);
  if (Number.isNaN(from.getTime())) throw new UsageError(`--from must be a date such as 2026-01-31, not "${text}"`);
  if (from.getTime() > Date.now()) throw new UsageError('--from must not be in the future');
  return from;
}
