/**
 * The customer of Stripe that an account is: made once, and kept in `accounts.stripe_customer_id`, by which its payments are known.
 *
 *   nobody ──asked for, under a key of its own──▶ asked ──answered──▶ known ──deleted at Stripe──▶ asked anew ──▶ known
 *                                                   │  ▲
 *                                                   └──┘ no answer: the same key again · refused, or too long ago: looked up first
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type Stripe from 'stripe';
import { accountIsErased, findAccount } from '../accounts/accounts.ts';
import { TollgateError } from '../errors.ts';
import { publicId } from '../lib/ids.ts';
import type { PaymentDeps } from './deps.ts';
import { isMissingCustomer, outcomeOf, stripeFault } from './faults.ts';
import type { StripeApi } from './stripe.ts';

type Deps = Pick<PaymentDeps, 'pool' | 'stripe' | 'log'>;

/** Stripe forgets a key after a day: before that it is not relied on any more. */
const KEY_HOURS = 23;
/** While another asks for the same, the answer is waited for so often; a call that no answer came to counts for four. */
const TRIES = 12;
const UNANSWERED = 4;
const PAUSE_MS = 250;
/** It is asked again here, with a look at what is known by then. */
const ASK = { timeout: 8_000, maxNetworkRetries: 0 };
/** Of a look-up: how many customers it goes through at most. */
const MOST_LOOKED_AT = 1_000;

/** What this process asks for now, so that calls of one account share an answer. */
const asking = new WeakMap<StripeApi, Map<bigint, Promise<string>>>();

/**
 * The account's customer, made if it has none. Throws `not_found`, `conflict` when the account was erased, `stripe_unavailable` when
 * Stripe does not say, `stripe_refused`.
 */
export async function ensureCustomer(deps: Deps, account: bigint): Promise<string> {
  const known = await findAccount(deps.pool, account);
  if (known === null) throw new TollgateError('not_found');
  if (known.erasedAt !== null) throw accountIsErased();
  return known.stripeCustomerId ?? shared(deps, account, () => make(deps, account, null));
}

/**
 * What `work` comes to for the account's customer. Where Stripe says that there is no such customer any more, it is replaced by a new
 * one, once, and the work is done for that.
 */
export async function withCustomer<T>(deps: Deps, account: bigint, work: (customer: string) => Promise<T>): Promise<T> {
  const customer = await ensureCustomer(deps, account);
  try {
    return await work(customer);
  } catch (error) {
    if (!isMissingCustomer(error)) throw error;
    deps.log.warn({ account: publicId('acct', account) }, 'its customer is gone at Stripe: another one is made');
    return work(await shared(deps, account, () => make(deps, account, customer)));
  }
}

async function shared({ stripe }: Deps, account: bigint, ask: () => Promise<string>): Promise<string> {
  let accounts = asking.get(stripe);
  if (accounts === undefined) {
    accounts = new Map();
    asking.set(stripe, accounts);
  }
  let answer = accounts.get(account);
  if (answer === undefined) {
    answer = ask().finally(() => accounts.delete(account));
    accounts.set(account, answer);
  }
  return answer;
}

/** Makes the customer in the place of `replaces`; whoever makes it at the same time comes to the same one. */
async function make(deps: Deps, account: bigint, replaces: string | null): Promise<string> {
  for (let tries = 0; tries < TRIES; await sleep(PAUSE_MS)) {
    const now = await findAccount(deps.pool, account);
    if (now === null || now.erasedAt !== null) throw accountIsErased();
    if (now.stripeCustomerId !== null && now.stripeCustomerId !== replaces) return now.stripeCustomerId;
    const request = await noteRequest(deps, account, replaces);
    const answer = request.isOld ? await lookUpOrForget(deps, account, request) : await ask(deps, now, request);
    if ('customer' in answer) return keep(deps, account, answer.customer, replaces);
    tries += answer.none === 'unknown' ? UNANSWERED : 1;
  }
  throw new TollgateError('stripe_unavailable');
}

/** `forgotten`: the key is of no use, the next one will be another. */
type Answer = { customer: string } | { none: 'busy' | 'unknown' | 'forgotten' };

/** A row of `customer_requests`. */
interface Request {
  /** By the database's clock, in microseconds: it tells one key from another. */
  askedAt: bigint;
  isOld: boolean;
  replaces: string | null;
}

async function noteRequest({ pool }: Deps, account: bigint, replaces: string | null): Promise<Request> {
  const { rows } = await pool.query<{ asked: bigint; old: boolean }>(
    `INSERT INTO customer_requests AS r (account_id, replaces) VALUES ($1, $2)
     ON CONFLICT (account_id) DO UPDATE SET replaces = excluded.replaces,
       asked_at = CASE WHEN r.replaces IS DISTINCT FROM excluded.replaces THEN excluded.asked_at ELSE r.asked_at END
     RETURNING (extract(epoch FROM asked_at) * 1000000)::bigint AS asked,
       asked_at < clock_timestamp() - make_interval(hours => $3) AS old`,
    [account, replaces, KEY_HOURS],
  );
  return { askedAt: rows[0]!.asked, isOld: rows[0]!.old, replaces };
}

/** The customer, asked for under the request's key; or why there is none yet. */
async function ask(
  deps: Deps,
  account: { id: bigint; name: string; email: string | null },
  request: Request,
): Promise<Answer> {
  const id = publicId('acct', account.id);
  const params: Stripe.CustomerCreateParams = {
    name: account.name.slice(0, 256),
    ...(account.email !== null && { email: account.email }),
    metadata: { tollgate_account: id },
  };
  try {
    const key = `customer:${id}:${request.askedAt}`;
    return { customer: (await deps.stripe.client.customers.create(params, { idempotencyKey: key, ...ASK })).id };
  } catch (error) {
    const outcome = outcomeOf(error);
    if (outcome === 'busy' || outcome === 'unknown') return { none: outcome };
    // The key has an answer that is of no use: a failure that is repeated, or one to other fields than the account has now.
    if (outcome === 'failed' || outcome === 'other_fields') return lookUpOrForget(deps, account.id, request);
    throw stripeFault(error, deps.log);
  }
}

/** The customer that a request may have made; there is none: forgets the request, so that the next one has another key. */
async function lookUpOrForget({ pool, stripe, log }: Deps, account: bigint, request: Request): Promise<Answer> {
  const id = publicId('acct', account);
  const asked = Number(request.askedAt / 1_000_000n);
  try {
    const list = stripe.client.customers.list({ created: { gte: asked - 300, lte: asked + 90_000 }, limit: 100 }, ASK);
    const some = await list.autoPagingToArray({ limit: MOST_LOOKED_AT });
    const found = some.find((one) => one.metadata.tollgate_account === id && one.id !== request.replaces);
    if (found !== undefined) return { customer: found.id };
  } catch (error) {
    throw stripeFault(error, log);
  }
  await pool.query(
    `DELETE FROM customer_requests WHERE account_id = $1 AND (extract(epoch FROM asked_at) * 1000000)::bigint = $2`,
    [account, request.askedAt],
  );
  return { none: 'forgotten' };
}

/** Keeps the customer, unless the account has another one by now; says which one it has. */
async function keep({ pool }: Deps, account: bigint, customer: string, replaces: string | null): Promise<string> {
  await pool.query(
    `UPDATE accounts SET stripe_customer_id = $2
     WHERE account_id = $1 AND erased_at IS NULL AND stripe_customer_id IS NOT DISTINCT FROM $3`,
    [account, customer, replaces],
  );
  const now = await findAccount(pool, account);
  if (now === null || now.erasedAt !== null) throw accountIsErased();
  return now.stripeCustomerId!;
}
