/**
 * Compares what stands here with Stripe, and names each difference. What a sync would change is found by rehearsing it: the same code,
 * in a transaction that is undone. A repair is the same sync, not undone; then the object is looked at again.
 *
 *   walk ──object──▶ rehearse ──nothing──▶ in line
 *                       └──differences──▶ named ──repair──▶ sync ──▶ rehearse ──nothing──▶ mended
 *                                                                        └──some──▶ remains: a person is told what to do
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { TollgateError } from '../../errors.ts';
import type { PaymentDeps } from '../deps.ts';
import { chargeDue } from '../recharge/charge.ts';
import { sync } from '../sync/sync.ts';
import type { StripeRef } from '../sync/types.ts';
import { type ByHand, foundByHand } from './by-hand.ts';
import type { Difference, NamedDifference } from './differences.ts';
import { eventDifferences } from './lost-events.ts';
import { createWitness } from './observe.ts';
import { type Window, walk } from './walk.ts';

export interface ReconcileOptions {
  /** `null`: the last 30 days. */
  from: Date | null;
  repair: boolean;
  /** Objects a second, each of a few calls; Stripe allows 25 calls a second in test mode, and 100 in live mode. */
  perSecond?: number;
  signal?: AbortSignal;
  progress?: (text: string) => void;
}

export interface Report {
  from: Date;
  to: Date;
  repair: boolean;
  /** Objects that were looked at one by one. */
  looked: number;
  differences: readonly NamedDifference[];
  /** Objects that could not be read, and why. */
  unread: readonly { object: string; error: string }[];
  /** Nothing differs any more, and all could be read. */
  ok: boolean;
}

const DEFAULT_DAYS = 30;
/** What is younger may still be on its way. A repair looks at it all the same. */
const SETTLING_SECONDS = 120;
const AT_ONCE = 6;
const PER_SECOND = { test: 5, live: 20 };
const PROGRESS_EACH = 50;

/**
 * Compares, and mends what differs where that is asked for. One at a time, of all processes: throws `conflict` while another runs, and
 * when a list of Stripe's or the database cannot be read.
 */
export async function reconcile(deps: PaymentDeps, options: ReconcileOptions): Promise<Report> {
  const client = await deps.pool.connect();
  let broken = false;
  try {
    const { rows } = await client.query<{ ours: boolean }>('SELECT pg_try_advisory_lock($1::bigint) AS ours', [LOCK]);
    if (!rows[0]!.ours) throw new TollgateError('conflict', { message: RUNS });
    return await compare(deps, options);
  } finally {
    // Should that fail, the lock ends with its connection.
    await client.query('SELECT pg_advisory_unlock($1::bigint)', [LOCK]).catch(() => {
      broken = true;
    });
    client.release(broken);
  }
}

/** "tollgate stripe reconcile", by its first letters. */
const LOCK = 0x7473_7265_636fn;
const RUNS = 'Stripe is being reconciled already. Wait until that is done.';

async function compare(deps: PaymentDeps, options: ReconcileOptions): Promise<Report> {
  const { repair, signal, progress = () => {} } = options;
  const now = Math.floor(deps.clock.now() / 1000);
  const from = options.from === null ? now - DEFAULT_DAYS * 86_400 : Math.floor(options.from.getTime() / 1000);
  const window: Window = { from, to: repair ? now + 1 : now + 1 - SETTLING_SECONDS };
  const run = new Run(deps, options);
  const seen = new Set<string>();
  const inFlight = new Set<Promise<void>>();
  const pace = createPace(options.perSecond ?? (deps.stripe.livemode ? PER_SECOND.live : PER_SECOND.test));
  await deps.catalogs.refresh();
  for await (const ref of walk(deps, window, (kind, listed) => progress(`${kind}: ${listed} listed`))) {
    signal?.throwIfAborted();
    const key = `${ref.kind} ${ref.id}`;
    if (seen.has(key)) continue;
    seen.add(key);
    if (seen.size % PROGRESS_EACH === 0) progress(`${seen.size} looked at, ${run.differences.length} differences`);
    await pace();
    while (inFlight.size >= AT_ONCE) await Promise.race(inFlight);
    const looking: Promise<void> = run.look(ref).finally(() => inFlight.delete(looking));
    inFlight.add(looking);
  }
  await Promise.all(inFlight);
  await run.lookByHand(window);
  await run.lookAtEvents(window);
  const differences = run.differences;
  return {
    from: new Date(window.from * 1000),
    to: new Date(window.to * 1000),
    repair,
    looked: seen.size,
    differences,
    unread: run.unread,
    ok: differences.every(({ mended }) => mended) && run.unread.length === 0,
  };
}

/** Resolves so that no more than that many go on in a second. */
function createPace(perSecond: number): () => Promise<void> {
  let next = 0;
  return async () => {
    const now = performance.now();
    next = Math.max(next, now) + 1000 / perSecond;
    const wait = next - now - 1000 / perSecond;
    if (wait > 0) await sleep(wait);
  };
}

class Run {
  readonly differences: NamedDifference[] = [];
  readonly unread: { object: string; error: string }[] = [];
  readonly #deps: PaymentDeps;
  readonly #repair: boolean;

  constructor(deps: PaymentDeps, { repair }: ReconcileOptions) {
    this.#deps = deps;
    this.#repair = repair;
  }

  /** Never throws: an object that cannot be read is told of. */
  async look(ref: StripeRef): Promise<void> {
    try {
      const found = await rehearse(this.#deps, ref);
      if (found.length === 0) return;
      let left = found;
      if (this.#repair) {
        await sync(this.#deps, ref, null);
        left = await rehearse(this.#deps, ref);
      }
      this.#tell(found, left);
    } catch (error) {
      this.#deps.log.warn(
        { kind: ref.kind, cause: (error as Error).message },
        'an object of Stripe could not be reconciled',
      );
      this.unread.push({ object: ref.id, error: (error as Error).message });
    }
  }

  async lookByHand(window: Window): Promise<void> {
    const found = await foundByHand(this.#deps, window);
    if (this.#repair) for (const one of found) await this.#mend(one);
    const left = this.#repair ? await foundByHand(this.#deps, window) : found;
    this.#tell(
      found.map(({ difference }) => difference),
      left.map(({ difference }) => difference),
    );
  }

  async #mend({ difference, mend }: ByHand): Promise<void> {
    await mend();
    const kind = KINDS.get(difference.object.split('_')[0]!);
    if (kind !== undefined) await sync(this.#deps, { kind, id: difference.object }, null);
    else await chargeDue(this.#deps, new AbortController().signal);
  }

  async lookAtEvents(window: Window): Promise<void> {
    const found = await eventDifferences(this.#deps, window, this.#repair);
    this.differences.push(...found);
  }

  #tell(found: readonly Difference[], left: readonly Difference[]): void {
    const remains = new Set(left.map(({ kind, object }) => `${kind} ${object}`));
    const told = new Set(this.differences.map(({ kind, object, found }) => `${kind} ${object} ${found}`));
    for (const one of found) {
      // A payment of an invoice is met twice: as an intent, and as the invoice.
      if (told.has(`${one.kind} ${one.object} ${one.found}`)) continue;
      this.differences.push({ ...one, mended: this.#repair && !remains.has(`${one.kind} ${one.object}`) });
    }
  }
}

/** Keys of payments by their beginning: what they are at Stripe. */
const KINDS = new Map([
  ['pi', 'payment_intent'],
  ['in', 'invoice'],
  ['cs', 'checkout.session'],
]);

async function rehearse(deps: PaymentDeps, ref: StripeRef): Promise<Difference[]> {
  const witness = createWitness();
  await sync({ ...deps, witness }, ref, null);
  return witness.differences;
}
