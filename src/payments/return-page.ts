/**
 * Where a browser comes back to from a payment: `GET /billing/return?checkout=chk_…`. It brings the payment in line, so that the credits
 * are there before any webhook, and sends the browser on to the app. Nobody logs in here, so nothing is shown of the account.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { promptly } from '../db/pool.ts';
import { parsePublicId, publicId } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { siteOf } from '../lib/networks.ts';
import { RateLimit } from '../lib/rate-limit.ts';
import { type Checkout, findCheckout } from './checkout.ts';
import type { SellingDeps } from './deps.ts';
import { RETURN_PATH, withSession } from './session-request.ts';
import { sync } from './sync/sync.ts';

/** Of one checkout, by whoever has its link. */
const SYNCS_PER_MINUTE = 10;
/** Of one site: ids cannot be guessed faster. */
const LOOKS_PER_MINUTE = 60;
/** In this process at once: more are shown what stands here. */
const MOST_SYNCS = 20;
const PATIENCE_MS = 5_000;
const REFRESH_SECONDS = 5;

const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-robots-tag': 'noindex',
};

/** What is known of a checkout: `open` it is not paid yet, `processing` the money has not come. */
type State = { is: 'open' | 'processing' | 'expired' | 'subscribed' } | { is: 'granted'; credits: bigint };

export function registerReturnPage(app: FastifyInstance, deps: SellingDeps): void {
  const looks = new RateLimit<string>(LOOKS_PER_MINUTE, 60_000, deps.clock);
  const syncs = new RateLimit<bigint>(SYNCS_PER_MINUTE, 60_000, deps.clock);
  let running = 0;
  /** Brings the checkout in line, if that is not done too often; waits for it for 5 s, and it goes on after that. */
  const bringInLine = async ({ id, session }: Checkout): Promise<void> => {
    if (session === null || running >= MOST_SYNCS || syncs.take(id) > 0) return;
    running++;
    const done = sync(deps, { kind: 'checkout.session', id: session }, null)
      // Its webhook will: here it is told, and no reason to fail.
      .catch((error: Error) =>
        deps.log.warn({ checkout: publicId('chk', id), error: error.name }, 'a return was not in line'),
      )
      .finally(() => {
        running--;
      });
    await within(done, PATIENCE_MS);
  };
  app.get(RETURN_PATH, async (request: FastifyRequest, reply: FastifyReply) => {
    if (looks.take(siteOf(request.ip)) > 0) return show(reply, 429, 'Too many requests. Try again in a minute.');
    const { checkout: written, cancelled } = request.query as Record<string, unknown>;
    const id = typeof written === 'string' ? parsePublicId('chk', written) : null;
    const known = id === null ? null : await promptly(findCheckout(deps.pool, id));
    if (known === null) return show(reply, 404, 'There is no such payment.');
    await bringInLine(known);
    const now = (await promptly(findCheckout(deps.pool, known.id)))!;
    const state = await promptly(stateOf(deps, now));
    if (state.is === 'open' && cancelled !== undefined) return show(reply, 200, 'Cancelled. Nothing was charged.');
    const { success_url: success } = now.asked;
    if (now.status === 'complete' && success !== undefined && now.session !== null) {
      return reply.header('cache-control', 'no-store').redirect(withSession(success, now.session), 303);
    }
    return show(reply, 200, TEXTS[state.is](state), state.is === 'processing');
  });
}

async function within(done: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([done, late]);
  clearTimeout(timer);
}

async function stateOf({ pool }: SellingDeps, { account, kind, name, session, status }: Checkout): Promise<State> {
  if (status !== 'complete') return { is: status };
  const { rows } = await pool.query<{ granted: bigint | null; subscribed: boolean }>(
    `SELECT (SELECT granted FROM payments WHERE session_id = $1 AND account_id = $2) AS granted,
        EXISTS (SELECT FROM subscriptions WHERE account_id = $2 AND plan = $3 AND status IN ('active', 'trialing')) AS subscribed`,
    [session, account, name],
  );
  const { granted, subscribed } = rows[0]!;
  if (kind === 'plan') return { is: subscribed ? 'subscribed' : 'processing' };
  return granted === null ? { is: 'processing' } : { is: 'granted', credits: granted };
}

const TEXTS: Record<State['is'], (state: State) => string> = {
  open: () => 'This has not been paid yet.',
  processing: () => 'Thank you. Your payment is being processed: what you bought is there once the money has come.',
  expired: () => 'This checkout is over. Nothing was charged.',
  subscribed: () => 'Thank you. Your plan is active.',
  granted: (state) => `Thank you. Paid, ${state.is === 'granted' ? formatCredits(state.credits) : 0} credits added.`,
};

function show(reply: FastifyReply, status: number, text: string, again = false): FastifyReply {
  if (again) reply.header('refresh', String(REFRESH_SECONDS));
  const page = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Payment</title><main><h1>Payment</h1><p>${text}</p></main></html>\n`;
  return reply.status(status).headers(HEADERS).send(page);
}
