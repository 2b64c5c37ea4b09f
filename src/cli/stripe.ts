/** `stripe setup`, `stripe replay`, `stripe reconcile`. What they do is loaded when it is done: the other commands start faster. */
import type { Command } from './command.ts';

const load = () => import('./stripe-runs.ts');

export const stripeSetup: Command = {
  name: 'stripe setup',
  summary:
    'Makes or updates the webhook endpoint at Stripe, with the events that Tollgate needs. The secret of a new one is shown this once.',
  positional: [],
  options: {
    url: { value: 'URL', required: true, help: 'where Stripe reaches this gateway: https://gateway.example.com' },
    prune: { help: 'also delete endpoints of this URL in other versions of the API' },
  },
  run: async (line) => (await load()).setUp(line),
};

export const stripeReplay: Command = {
  name: 'stripe replay',
  summary:
    'Brings the object of an event in line with Stripe, as if the event had just come; also one that never came.',
  positional: ['EVENT_ID'],
  options: {},
  run: async (line) => (await load()).replay(line),
};

export const stripeReconcile: Command = {
  name: 'stripe reconcile',
  summary:
    'Compares payments, subscriptions and events of the last 30 days with Stripe, beside a running gateway, and names each difference; exit status 1 while one remains.',
  positional: [],
  options: {
    from: { value: 'DATE', help: 'since then: 2026-01-31, or an RFC 3339 time' },
    repair: { help: 'bring what differs in line, and look at it again' },
  },
  run: async (line) => (await load()).reconcileNow(line),
};
