/** Events that Stripe could not deliver and nobody polled since, and those that the inbox gave up. */
import type { PaymentDeps } from '../deps.ts';
import { EVENT_TYPES } from '../events.ts';
import { poll } from '../poller.ts';
import { sync } from '../sync/sync.ts';
import type { NamedDifference } from './differences.ts';
import type { Window } from './walk.ts';

interface Lost {
  id: string;
  kind: 'undelivered_event' | 'dead_event';
  type: string;
  object: { kind: string; id: string | null };
  why: string;
}

const PAGE = 100;
/** Types that Stripe takes in one question. */
const MOST_TYPES = 20;
const MOST = 1_000;

/** Names them; with `repair` each is synced, and mended when it was processed. */
export async function eventDifferences(deps: PaymentDeps, window: Window, repair: boolean): Promise<NamedDifference[]> {
  const lost = [...(await undelivered(deps, window)), ...(await dead(deps))];
  if (repair && lost.some(({ kind }) => kind === 'undelivered_event')) await poll(deps, window.from);
  const differences: NamedDifference[] = [];
  for (const one of lost) {
    const mended = repair && (await mend(deps, one));
    differences.push({
      kind: one.kind,
      account: null,
      object: one.id,
      expected: 'processed',
      found: `${one.type}: ${one.why}`,
      advice: mended || !repair ? null : `npx tollgate stripe replay ${one.id}`,
      mended,
    });
  }
  return differences;
}

async function mend(deps: PaymentDeps, { id, object }: Lost): Promise<boolean> {
  if (object.id !== null) await sync(deps, { kind: object.kind, id: object.id }, id).catch(() => {});
  const { rowCount } = await deps.pool.query(
    "SELECT FROM stripe_events WHERE event_id = $1 AND state IN ('processed', 'ignored')",
    [id],
  );
  return rowCount === 1;
}

/** Those that are in the inbox were polled: they are on their way, or dead and told of as that. */
async function undelivered({ pool, stripe }: PaymentDeps, { from, to }: Window): Promise<Lost[]> {
  const lost: Lost[] = [];
  for (let i = 0; i < EVENT_TYPES.length && lost.length < MOST; i += MOST_TYPES) {
    const types = EVENT_TYPES.slice(i, i + MOST_TYPES);
    const list = stripe.client.events.list({
      delivery_success: false,
      types,
      created: { gte: from, lt: to },
      limit: PAGE,
    });
    const found = await list.autoPagingToArray({ limit: MOST });
    const { rows } = await pool.query<{ id: string }>(
      'SELECT event_id AS id FROM stripe_events WHERE event_id = ANY ($1)',
      [found.map(({ id }) => id)],
    );
    const known = new Set(rows.map(({ id }) => id));
    for (const { id, type, data } of found) {
      if (known.has(id)) continue;
      const { object: kind, id: of } = data.object as { object: string; id?: string };
      lost.push({ id, kind: 'undelivered_event', type, object: { kind, id: of ?? null }, why: 'not delivered' });
    }
  }
  return lost;
}

async function dead({ pool }: PaymentDeps): Promise<Lost[]> {
  const { rows } = await pool.query<{
    id: string;
    type: string;
    kind: string;
    object: string | null;
    error: string | null;
  }>(
    `SELECT event_id AS id, type, object_kind AS kind, object_id AS object, error FROM stripe_events
     WHERE state = 'dead' ORDER BY received_at LIMIT $1`,
    [MOST],
  );
  return rows.map(({ id, type, kind, object, error }) => ({
    id,
    kind: 'dead_event',
    type,
    object: { kind, id: object },
    why: error ?? 'given up',
  }));
}
