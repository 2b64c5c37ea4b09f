/**
 * Finds events that Stripe could not deliver: each five minutes, and at start, one process asks for them. Through the inbox they go
 * like any other.
 */
import type { Pool } from 'pg';
import { runOnce } from '../db/job-runs.ts';
import type { Job } from '../lib/job.ts';
import type { PaymentDeps } from './deps.ts';
import { EVENT_TYPES, readEvent } from './events.ts';
import { storeEvents } from './inbox-rows.ts';

const EVERY_MS = 300_000;
/** It walks at most 30 days of events, some hundred at a time; whoever overlaps stores the same. */
const LEASE_MS = 300_000;
/** How often a process looks whether it is time. */
const LOOK_MS = 30_000;
/** Events count as undelivered while they are retried, so the last run has seen most that were made shortly before it. */
const OVERLAP_MS = 3_600_000;
/** Stripe lists events for so long. */
const MOST_MS = 30 * 86_400_000;
/** What a gateway that never polled looks at: as long as Stripe retries. What is older is the reconciler's. */
const FIRST_MS = 3 * 86_400_000;
/** Types that Stripe takes in one question. */
const MOST_TYPES = 20;
const PAGE = 100;

export interface PollerOptions {
  deps: PaymentDeps;
  /** Called when something new was stored. */
  stored(): void;
}

export function pollerJob({ deps, stored }: PollerOptions): Job {
  return {
    name: 'stripe-poller',
    everyMs: LOOK_MS,
    run: async (signal) => {
      await runOnce(deps.pool, 'stripe-poller', { everyMs: EVERY_MS, leaseMs: LEASE_MS }, async (lastBegan) => {
        if ((await poll(deps, await since(deps.pool, lastBegan), signal)) > 0) stored();
      });
      return false;
    },
  };
}

/** From when on it looks, in Stripe's seconds; by the database's clock. */
async function since(pool: Pool, lastBegan: Date | null): Promise<number> {
  const { rows } = await pool.query<{ now: Date }>('SELECT clock_timestamp() AS now');
  const now = rows[0]!.now.getTime();
  const from = lastBegan === null ? now - FIRST_MS : Math.max(lastBegan.getTime() - OVERLAP_MS, now - MOST_MS);
  return Math.floor(from / 1000);
}

/**
 * Stores the undelivered events that Stripe made since then (seconds); returns how many were new. Throws when Stripe or the database
 * does not answer, or the process stops: then the same is asked again.
 */
export async function poll(deps: PaymentDeps, createdSince: number, signal?: AbortSignal): Promise<number> {
  let found = 0;
  for (let i = 0; i < EVENT_TYPES.length; i += MOST_TYPES) {
    const asked = {
      delivery_success: false,
      types: EVENT_TYPES.slice(i, i + MOST_TYPES),
      created: { gte: createdSince },
      limit: PAGE,
    };
    let last: string | undefined;
    do {
      signal?.throwIfAborted();
      const page = await deps.stripe.client.events.list(
        last === undefined ? asked : { ...asked, starting_after: last },
      );
      found += await store(deps, page.data);
      last = page.has_more ? page.data.at(-1)?.id : undefined;
    } while (last !== undefined);
  }
  if (found > 0) deps.log.info({ events: found }, 'found events that Stripe could not deliver');
  return found;
}

async function store({ pool, stripe }: PaymentDeps, listed: readonly unknown[]): Promise<number> {
  const events = listed.map(readEvent).filter((event) => event !== null && event.livemode === stripe.livemode);
  if (events.length === 0) return 0;
  return (
    await storeEvents(
      pool,
      events.map((event) => ({ event: event!, body: null })),
      'poll',
    )
  ).length;
}
