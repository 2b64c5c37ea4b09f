/** The outbox: what the host application should hear of, in the order in which it happened. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { BEGINNING, OUTBOX_TYPES, type OutboxEvent, type Place, readOutbox } from '../accounts/outbox.ts';
import { readInput } from '../errors-input.ts';
import { pageQuery } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import { id, time } from '../openapi/shapes.ts';
import type { AdminDeps } from './shared.ts';

const AFTER = 'must be the id of an event, or next_cursor of an earlier page';
/** Both numbers are of 63 bits: longer ones are nobody's. */
const EVENT_ID = /^evt_(\d{1,18})_(\d{1,18})$/;

const query = pageQuery.omit({ cursor: true }).extend({
  after: z
    .string(AFTER)
    .regex(EVENT_ID, AFTER)
    .transform((text): Place => {
      const [, xid, event] = EVENT_ID.exec(text)!;
      return { xid: BigInt(xid!), event: BigInt(event!) };
    })
    .optional()
    .meta({ description: 'Events after this one; without it from the oldest that is kept.' }),
});

const event = z
  .strictObject({
    id: id('evt'),
    type: z.enum(OUTBOX_TYPES),
    account_id: id('acct'),
    data: z.record(z.string(), z.unknown()),
    at: time,
  })
  .meta({ id: 'Event' });

const list = about({
  summary: 'Lists what happened since an event, oldest first: ask again with the last id for what comes next.',
  query,
  answer: z.strictObject({ data: z.array(event), has_more: z.boolean(), next_cursor: id('evt').nullable() }),
});

export function registerEvents(scope: FastifyInstance, { pool }: AdminDeps): void {
  scope.get('/events', list, async (request) => {
    const { limit, after = BEGINNING } = readInput(query, request.query);
    const found = await readOutbox(pool, after, limit + 1);
    const shown = found.slice(0, limit);
    const last = shown.at(-1) ?? after;
    return {
      data: shown.map(present),
      has_more: found.length > limit,
      // Also of the last page: what comes next is asked for with it.
      next_cursor: last === BEGINNING ? null : eventId(last),
    };
  });
}

function present({ account, type, data, at, ...place }: OutboxEvent) {
  return { id: eventId(place), type, account_id: publicId('acct', account), data: withKey(data), at: at.toISOString() };
}

/** Of a budget: whose it is. `null`: the account's own. */
function withKey({ key, ...data }: OutboxEvent['data']): OutboxEvent['data'] {
  if (key === undefined) return data;
  return { key_id: key === null ? null : publicId('key', BigInt(String(key))), ...data };
}

function eventId({ xid, event }: Place): string {
  return `evt_${xid}_${event}`;
}
