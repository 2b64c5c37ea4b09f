/**
 * Walks through all ways in which the life of a payment can be heard of. A life is lived once at the simulator, which keeps a snapshot
 * of each stage; a word is a way to hear of it: at each point either one of the objects that exist is told of (again, or for the first
 * time), or life goes on to its next stage. Words share their beginnings: each step of one is a savepoint that is rolled back, so a
 * step costs one sync and no commit.
 *
 * At each point, whatever was heard so far:
 *   - credits stand only where money was received;
 *   - where all that the life touches was heard of since it last moved, what stands is the canonical state of that stage;
 *   - hearing of everything once, as the poller does, makes it so in any case.
 */
import type { Pool, PoolClient } from 'pg';
import type Stripe from 'stripe';
import type { PaymentDeps } from '../../../src/payments/deps.ts';
import { InMotion } from '../../../src/payments/sync/converge.ts';
import { sync } from '../../../src/payments/sync/sync.ts';
import type { StripeRef } from '../../../src/payments/sync/types.ts';
import type { PayRig } from '../sync/rig.ts';
import { readState, type State } from './state.ts';

/** What a life is at one of its stages. */
interface Stage {
  snapshot: number;
  /** What there is to hear of, in the order in which it came to be. */
  refs: readonly StripeRef[];
  canonical: State;
  /** Payments whose money the simulator has received, and orders for which nothing was due. */
  received: ReadonlySet<string>;
  /** By ref: the objects that hearing of it brings in line. */
  covers: ReadonlyMap<StripeRef, ReadonlySet<string>>;
}

export interface Life {
  name: string;
  account: bigint;
  /** What happens at Stripe, one after the other. */
  steps: ReadonlyArray<() => Promise<unknown>>;
  /** Credits that the account has after each step, as a person would work them out. */
  balances: readonly number[];
}

export interface Lived extends Life {
  stages: readonly Stage[];
}

const KINDS: ReadonlySet<string> = new Set([
  'payment_intent',
  'checkout.session',
  'charge',
  'refund',
  'dispute',
  'invoice',
  'invoice_payment',
  'credit_note',
  'subscription',
]);

/** Runs `work` on deps whose database is one connection, in a transaction that is rolled back. */
export async function rehearse<T>(rig: PayRig, work: (deps: PaymentDeps, db: PoolClient) => Promise<T>): Promise<T> {
  const db = await rig.pool.connect();
  try {
    await db.query('BEGIN');
    return await work({ ...rig.deps, pool: db as unknown as Pool }, db);
  } finally {
    await db.query('ROLLBACK');
    db.release();
  }
}

/** What `work` writes is undone. */
async function tried<T>(db: PoolClient, work: () => Promise<T>): Promise<T> {
  await db.query('SAVEPOINT here');
  try {
    return await work();
  } finally {
    await db.query('ROLLBACK TO SAVEPOINT here; RELEASE SAVEPOINT here');
  }
}

/** Lives a life at the simulator, and finds the canonical state of each stage: everything heard of once, in its order. */
export async function live(rig: PayRig, life: Life): Promise<Lived> {
  const stages: Stage[] = [];
  const before = new Set((await rig.stripe.events()).map(({ id }) => id));
  const refs = new Map<string, StripeRef>();
  for (const [at, step] of life.steps.entries()) {
    await step();
    for (const { id, data } of await rig.stripe.events()) {
      const { object: kind, id: about } = data.object;
      if (!before.has(id) && KINDS.has(kind) && !refs.has(about)) refs.set(about, { kind, id: about });
    }
    const known = [...refs.values()];
    const stage = await rehearse(rig, (deps, db) => canonicalOf(deps, db, life.account, known));
    stages.push({ snapshot: await rig.stripe.snapshot(), refs: known, received: await receivedBy(rig), ...stage });
    if (stage.canonical.balance !== life.balances[at]) {
      throw new Error(`${life.name}: ${stage.canonical.balance} credits after step ${at}, not ${life.balances[at]}`);
    }
  }
  return { ...life, stages };
}

async function receivedBy({ stripe }: PayRig): Promise<Set<string>> {
  const intents = await stripe.objects<Stripe.PaymentIntent>('payment_intent');
  const sessions = await stripe.objects<Stripe.Checkout.Session>('checkout.session');
  const invoices = await stripe.objects<Stripe.Invoice & { id: string }>('invoice');
  const keys = [
    ...intents.filter(({ amount_received }) => amount_received > 0),
    ...sessions.filter(
      ({ payment_status, status }) => status === 'complete' && payment_status === 'no_payment_required',
    ),
    ...invoices.filter(({ amount_paid }) => amount_paid > 0),
  ];
  return new Set(keys.map(({ id }) => id));
}

async function canonicalOf(deps: PaymentDeps, db: PoolClient, account: bigint, refs: readonly StripeRef[]) {
  const covers = new Map<StripeRef, ReadonlySet<string>>();
  for (const ref of refs) {
    await tried(db, async () => {
      await sync(deps, ref, null);
      const { rows } = await db.query<{ object_id: string }>('SELECT object_id FROM stripe_syncs');
      covers.set(ref, new Set(rows.map(({ object_id }) => object_id)));
    });
  }
  for (const ref of refs) await sync(deps, ref, null);
  return { covers, canonical: await readState(db, account) };
}

export interface Walk {
  /** Words that were covered, and steps that were taken for them. */
  words: bigint;
  steps: number;
}

interface Point {
  stage: number;
  left: number;
  /** What is in line with this stage. */
  heard: ReadonlySet<string>;
  word: readonly string[];
}

/**
 * Walks all words of at most `longest` hearings, or, with `random`, one word of exactly as many. `sharing`: what follows depends only on
 * the stage, on what was heard in it, and on what stands here; where all that is as it was at another point with as much left, the
 * words that follow were walked already. Throws at the first promise that is broken, with its word.
 */
export async function walk(
  rig: PayRig,
  life: Lived,
  options: { longest: number; sharing: boolean; random?: () => number },
): Promise<Walk> {
  const done = new Map<string, number>();
  let steps = 0;
  const enter = async (stage: number): Promise<void> => rig.stripe.restore(life.stages[stage]!.snapshot);

  await rehearse(rig, async (deps, db) => {
    const visit = async (point: Point): Promise<void> => {
      const state = await readState(db, life.account);
      judge(life, point, state);
      const key = `${point.stage} ${[...point.heard].sort().join()} ${state.all}`;
      if (options.sharing && (done.get(key) ?? -1) >= point.left) return;
      if (!done.has(key) && !isHeard(life, point)) await sweep(deps, db, life, point);
      done.set(key, point.left);
      for (const next of choose(life, point, options.random)) {
        steps++;
        if (next === null) {
          await enter(point.stage + 1);
          await visit({ ...point, stage: point.stage + 1, heard: new Set(), word: [...point.word, '→'] });
          await enter(point.stage);
          continue;
        }
        await tried(db, async () => {
          await sync(deps, next, null);
          const heard = new Set([...point.heard, ...life.stages[point.stage]!.covers.get(next)!]);
          await visit({ ...point, left: point.left - 1, heard, word: [...point.word, next.id] });
        });
      }
    };
    await enter(0);
    await visit({ stage: 0, left: options.longest, heard: new Set(), word: [] });
  });
  return { words: wordsOf(life, 0, options.longest), steps };
}

/** What can come next: an object to hear of, or `null` for life to go on. */
function choose(life: Lived, { stage, left }: Point, random: (() => number) | undefined): Array<StripeRef | null> {
  const isLast = stage === life.stages.length - 1;
  const all = [...(left > 0 ? life.stages[stage]!.refs : []), ...(isLast ? [] : [null])];
  if (random === undefined || all.length === 0) return all;
  // Life goes on so often that its stages share what is heard.
  if (!isLast && random() < (life.stages.length - stage) / (left + life.stages.length - stage)) return [null];
  const heard = all.filter((one) => one !== null);
  return heard.length === 0 ? all : [heard[Math.floor(random() * heard.length)]!];
}

/** What can be said at a point as it is. */
function judge(life: Lived, point: Point, state: State): void {
  const { canonical, received } = life.stages[point.stage]!;
  const unpaid = state.granted.filter((key) => !received.has(key));
  if (unpaid.length > 0) throw broken(life, point, `credits of ${unpaid} without money`, state);
  if (isHeard(life, point) && state.all !== canonical.all) throw broken(life, point, 'not in line', state);
}

/** Whether everything was heard of since life last went on. */
function isHeard(life: Lived, { stage, heard }: Point): boolean {
  const { covers } = life.stages[stage]!;
  return heard.size === new Set([...covers.values()].flatMap((some) => [...some])).size;
}

/** Hears of everything once. */
async function sweep(deps: PaymentDeps, db: PoolClient, life: Lived, point: Point): Promise<void> {
  const { canonical, refs } = life.stages[point.stage]!;
  await tried(db, async () => {
    for (const ref of refs) await sync(deps, ref, null);
    const swept = await readState(db, life.account);
    if (swept.all !== canonical.all) throw broken(life, point, 'not in line once all was heard of', swept);
  });
}

function broken(life: Lived, { stage, word }: Point, promise: string, got: State): Error {
  const { canonical } = life.stages[stage]!;
  return new Error(`${life.name}: ${promise} after [${word.join(' ')}]\n got ${got.all}\nwant ${canonical.all}`);
}

/** Everything is heard of at the end of a life, what is short twice, all at once, in transactions of their own; what is in motion is tried again. */
export async function hearAtOnce(rig: PayRig, life: Lived, random: () => number): Promise<void> {
  const { refs, snapshot, canonical } = life.stages.at(-1)!;
  await rig.stripe.restore(snapshot);
  const twice = refs.length > 6 ? refs : [...refs, ...refs];
  const shuffled = twice.map((ref) => ({ ref, at: random() })).sort((a, b) => a.at - b.at);
  const hear = async (ref: StripeRef): Promise<unknown> =>
    sync(rig.deps, ref, null).catch((error: unknown) => {
      if (error instanceof InMotion) return hear(ref);
      throw error;
    });
  await Promise.all(shuffled.map(({ ref }) => hear(ref)));
  const state = await rehearse(rig, (_, db) => readState(db, life.account));
  if (state.all !== canonical.all)
    throw broken(
      life,
      { stage: life.stages.length - 1, left: 0, heard: new Set(), word: ['at once'] },
      'not in line',
      state,
    );
}

function wordsOf(life: Lived, stage: number, left: number): bigint {
  let words = 1n;
  if (left > 0) words += BigInt(life.stages[stage]!.refs.length) * wordsOf(life, stage, left - 1);
  if (stage < life.stages.length - 1) words += wordsOf(life, stage + 1, left);
  return words;
}
