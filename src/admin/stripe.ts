/** What Stripe told us: the inbox, and replay of an event. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { TollgateError } from '../errors.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { about } from '../openapi/about.ts';
import {
  fetchIntoInbox,
  findInInbox,
  type InboxEvent,
  inboxPosition,
  listInbox,
  replayEvent,
} from '../payments/inbox-view.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
import { type AdminDeps, type ById, noSuch } from './shared.ts';

const query = pageQuery.extend({
  state: z.enum(['waiting', 'processed', 'ignored', 'dead'], 'must be waiting, processed, ignored or dead').optional(),
});

const CALLS = {
  list: about({
    summary: 'Lists events of Stripe, newest first: those that are dead failed too often and wait for a replay.',
    query,
    answer: answers.stripeEventPage,
  }),
  replay: about({
    summary: 'Makes an event wait again, as if it had just come; one that never came is asked for.',
    answer: answers.stripeEvent,
    errors: ['not_found', 'stripe_disabled', 'stripe_unavailable', 'stripe_refused'],
  }),
};

export function registerStripe(scope: FastifyInstance, { pool, payments }: AdminDeps): void {
  scope.get('/stripe/events', CALLS.list, async (request) => {
    const { limit, cursor, state } = readInput(query, request.query);
    const page = { limit: limit + 1, after: readCursor(cursor, inboxPosition) };
    return toPage(await listInbox(pool, state ?? null, page), limit, present, ({ position }) => position);
  });

  scope.post<ById>('/stripe/events/:id/replay', CALLS.replay, async (request) => {
    const { id } = request.params;
    if (payments === null) throw new TollgateError('stripe_disabled');
    const known = !id.includes('\0') && (await findInInbox(pool, id)) !== null;
    if (!known && !(await fetchIntoInbox(payments, id))) throw noSuch('event', id);
    return audited(pool, request, 'stripe_event.replay', id, async (db) => {
      const before = await findInInbox(db, id);
      const after = await replayEvent(db, id);
      if (before === null || after === null) throw noSuch('event', id);
      return { answer: present(after), target: id, before: present(before), after: present(after) };
    });
  });
}

/** Without what was sent: that holds personal data. */
function present({ createdAt, receivedAt, dueAt, endedAt, position: _, ...row }: InboxEvent) {
  return {
    id: row.id,
    type: row.type,
    object_kind: row.objectKind,
    object_id: row.objectId,
    state: row.state,
    attempts: row.attempts,
    error: row.error,
    source: row.source,
    api_version: row.apiVersion,
    created_at: createdAt.toISOString(),
    received_at: receivedAt.toISOString(),
    due_at: dueAt?.toISOString() ?? null,
    ended_at: endedAt?.toISOString() ?? null,
  };
}
