/**
 * `POST /webhooks/stripe`: what Stripe tells us is verified, stored, and answered; what it means is found out by the inbox.
 *
 *   signature on the raw bytes ──▶ an event ──▶ of our mode ──▶ stored under its id (again: nothing new) ──▶ 200
 *     └──400                         └──400       └──400           └──database away: 503 within 2 s, and Stripe sends it again
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Pool } from 'pg';
import Stripe from 'stripe';
import { promptly } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Secret } from '../lib/settings.ts';
import { Turns } from '../lib/turns.ts';
import type { Logger } from '../observe/log.ts';
import { readEvent, type StripeEvent } from './events.ts';
import { storeEvents } from './inbox-rows.ts';
import type { PaymentMetrics, Refusal } from './metrics.ts';
import { API_VERSION } from './stripe.ts';

export const WEBHOOK_PATH = '/webhooks/stripe';

/** Events of Stripe have some kilobytes; invoices with hundreds of lines, some hundred. */
const MAX_BODY_BYTES = 1024 * 1024;
/** A signature is good for so long: afterwards a body that was seen on its way is worth nothing. */
const TOLERANCE_SECONDS = 300;
/** Stores at the database at once, of a pool that others read through. More bodies than wait are refused: Stripe sends them again. */
const MOST_AT_ONCE = 2;
const MOST_WAITING = 64;
const WARN_EVERY_MS = 60_000;
/** There are some new ones a year; more than these are not warned of. */
const MOST_VERSIONS = 100;

export interface IngressDeps {
  pool: Pool;
  /** Whether our key is of the live mode. */
  livemode: boolean;
  /** One, or while they are rotated several; never none. */
  secrets: readonly Secret[];
  clock: Clock;
  log: Logger;
  metrics: PaymentMetrics;
  /** Called when something new was stored. */
  stored(): void;
}

const REASONS: Readonly<Record<string, Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'too_large',
  invalid_signature: 'signature',
  invalid_json: 'not_json',
  ledger_unavailable: 'not_stored',
  overloaded: 'not_stored',
};

export async function registerIngress(app: FastifyInstance, deps: IngressDeps): Promise<void> {
  const turns = new Turns(MOST_AT_ONCE, MOST_WAITING);
  const told = new Told(deps);
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: MAX_BODY_BYTES },
      async (_request: FastifyRequest, body: Buffer) => body,
    );
    scope.addHook('onRequest', async (request, reply) => {
      reply.header('x-request-id', request.id);
      // Before its body is read.
      signatureOf(request);
    });
    scope.addHook('onError', async (_request, _reply, error) => {
      const { code, reason } = error as { code?: string; reason?: Refusal };
      const why = reason ?? REASONS[code ?? ''] ?? 'not_an_event';
      deps.metrics.refused(why);
      told.refused(why);
    });
    scope.post(WEBHOOK_PATH, async (request) => {
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      verify(body, signatureOf(request), deps);
      const event = read(body);
      if (event.livemode !== deps.livemode) throw wrongMode(event);
      told.version(event);
      const stored = await turns.run(() => promptly(storeEvents(deps.pool, [{ event, body }], 'webhook')));
      if (stored === null) throw new TollgateError('overloaded', { cause: 'too many webhooks wait to be stored' });
      deps.metrics.received(event.type, stored.length > 0);
      if (stored.length > 0) deps.stored();
      return { received: true };
    });
  });
}

function signatureOf(request: FastifyRequest): string {
  const header = request.headers['stripe-signature'];
  if (typeof header !== 'string' || header === '') throw new TollgateError('invalid_signature');
  return header;
}

/** Throws `invalid_signature` unless one of our secrets made it, less than five minutes ago. */
function verify(body: Buffer, signature: string, { secrets, clock }: IngressDeps): void {
  let cause: unknown;
  for (const secret of secrets) {
    try {
      const now = clock.now();
      Stripe.webhooks.signature!.verifyHeader(body, signature, secret.reveal(), TOLERANCE_SECONDS, undefined, now);
      return;
    } catch (error) {
      // It holds the body.
      cause = (error as Error).message;
    }
  }
  throw new TollgateError('invalid_signature', { cause });
}

function read(body: Buffer): StripeEvent {
  let sent: unknown;
  try {
    sent = JSON.parse(body.toString());
  } catch {
    // The parser's own words quote the body.
    throw new TollgateError('invalid_json');
  }
  const event = readEvent(sent);
  if (event !== null) return event;
  throw new TollgateError('invalid_request', {
    message:
      'This is no snapshot event of Stripe. Send snapshot payloads to this URL, not thin ones: `npx tollgate stripe setup` makes such an endpoint.',
  });
}

function wrongMode({ livemode }: StripeEvent): Error {
  const [theirs, ours] = livemode ? ['live', 'test'] : ['test', 'live'];
  const error = new TollgateError('invalid_request', {
    message: `This event is of Stripe's ${theirs} mode, and the secret key of this gateway of the ${ours} mode: make the endpoint in the mode of the key.`,
  });
  return Object.assign(error, { reason: 'wrong_mode' satisfies Refusal });
}

/** What operators should hear of, but not at every event. Whoever sends nonsense must not fill the log. */
class Told {
  readonly #log: Logger;
  readonly #refusedMs = new Map<Refusal, number>();
  readonly #versions = new Set<string | null>([API_VERSION]);

  constructor({ log }: Pick<IngressDeps, 'log'>) {
    this.#log = log;
  }

  refused(reason: Refusal): void {
    if (performance.now() - (this.#refusedMs.get(reason) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return;
    this.#refusedMs.set(reason, performance.now());
    this.#log.warn({ reason }, 'a webhook of Stripe was refused; more of the same are not told for a minute');
  }

  version({ apiVersion }: StripeEvent): void {
    if (this.#versions.has(apiVersion) || this.#versions.size >= MOST_VERSIONS) return;
    this.#versions.add(apiVersion);
    const events = { apiVersion, ours: API_VERSION };
    this.#log.warn(
      events,
      'events come in another version of the API than ours; only ids are read of them, so nothing is lost',
    );
  }
}
