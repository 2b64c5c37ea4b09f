/**
 * Step 5: sends the request to the model's routes in order of preference. A route that fails before anything reached
 * the client gives way to the next; each try is an attempt on the receipt. What a client did wrong is not retried.
 */
import type { Clock } from '../lib/clock.ts';
import { outputBound } from '../metering/bounds.ts';
import type { AttemptFacts } from '../metering/receipt.ts';
import { requestHeaders } from '../upstream/headers.ts';
import type { Provider, StreamedBody } from '../upstream/types.ts';
import { Relay } from './6-relay.ts';
import { type Context, need } from './context.ts';
import { editedBody } from './edits.ts';
import type { InFlight } from './in-flight.ts';
import type { Relayed } from './relayed.ts';
import type { Tenants } from './tenancy.ts';

/** Statuses that say the request itself is wrong: another provider would say the same, so the client is told. */
const CLIENT_FAULTS = new Set([400, 404, 413, 422]);

export interface ForwardDeps {
  providers: ReadonlyMap<string, Provider>;
  clock: Clock;
  inFlight: InFlight;
  tenants: Tenants;
}

/** Forwards a held request and relays the answer. Resolves when the last attempt is over; never throws. */
export async function forward(context: Context, deps: ForwardDeps): Promise<Relayed> {
  const model = need(context, 'model');
  let relayed: Relayed | null = null;
  for (const route of model.routes) {
    const provider = deps.providers.get(route.provider);
    if (provider === undefined || !mayAnswer(context, provider)) continue;
    const startedAt = deps.clock.now();
    relayed = await attempt(context, deps, provider, route.model);
    context.attempts.push({
      provider: provider.name,
      model: route.model,
      status: statusOf(relayed),
      outcome: outcomeOf(relayed),
      ms: deps.clock.now() - startedAt,
    });
    if (!mayTryNext(relayed) || context.clientGone) return relayed;
  }
  return relayed ?? noRoute();
}

/** Whether it has what the request names, should it name anything that is stored. */
function mayAnswer({ onlyProvider }: Context, { name }: Provider): boolean {
  return onlyProvider === null || onlyProvider === name;
}

function attempt(context: Context, deps: ForwardDeps, provider: Provider, upstreamModel: string): Promise<Relayed> {
  return new Promise((done) => {
    const request = need(context, 'request');
    const model = need(context, 'model');
    const relay = new Relay({
      response: context.response,
      requestId: context.publicId,
      dialect: context.endpoint.dialect,
      claim: context.claim,
      usageAsked: request.includeUsage,
      streamAsked: request.stream,
      // One in the background goes on: it is read until its id is known, and its usage if that comes soon.
      onDisconnect: request.background === true ? 'drain' : model.onDisconnect,
      onMade: context.onMade === null ? null : (id) => context.onMade!(provider.name, id),
      outputHeld: context.clampedTo === null ? outputBound(request, model) : context.clampedTo * request.n,
      slices: context.slices,
      done: (relayed) => {
        deps.inFlight.ended(context);
        done(relayed);
      },
    });
    relay.attempt = provider.send(
      {
        method: context.endpoint.method,
        path: context.endpoint.upstreamPath,
        headers: requestHeaders(context.headers),
        body: sentBody(context, deps, provider, upstreamModel),
        upstreamModel,
      },
      relay,
    );
    deps.inFlight.forwarding(context, relay);
    if (context.clientGone) relay.clientGone();
  });
}

/** The body as this provider gets it. */
function sentBody(
  context: Context,
  { tenants }: ForwardDeps,
  provider: Provider,
  upstreamModel: string,
): Buffer | StreamedBody {
  const { upstreamPath, requests } = context.endpoint;
  const principal = need(context, 'principal');
  const { upload } = context;
  if (upload !== null) {
    return upload.sentAs(upstreamModel, tenants.partsFor(provider, upstreamPath, principal, upload.parts));
  }
  const request = need(context, 'request');
  const body = need(context, 'body');
  return editedBody(body, request, requests, {
    model: upstreamModel,
    clampedTo: context.clampedTo,
    provider,
    fields: tenants.fieldsFor(provider, upstreamPath, principal, request, body),
  });
}

/** Whether another route may be tried: nothing has reached the client, and the fault is the provider's. */
function mayTryNext(relayed: Relayed): boolean {
  switch (relayed.kind) {
    case 'refused':
      return !CLIENT_FAULTS.has(relayed.status);
    case 'failed':
      // An answer that never came may still be billed by the provider: sending it again could be paid twice.
      return !relayed.reached && !(relayed.failure.kind === 'timeout' && relayed.failure.sent);
    case 'cut_short':
      return !relayed.reached;
    default:
      return false;
  }
}

/** Whether the client is told what the provider said, because its request was wrong. */
export function isClientFault(status: number): boolean {
  return CLIENT_FAULTS.has(status);
}

function statusOf(relayed: Relayed): number | null {
  return relayed.kind === 'failed' || relayed.kind === 'abandoned' ? null : relayed.status;
}

function outcomeOf(relayed: Relayed): AttemptFacts['outcome'] {
  if (relayed.kind === 'streamed' && relayed.failed) return 'failed';
  return relayed.kind === 'failed' ? relayed.failure.kind : relayed.kind;
}

function noRoute(): Relayed {
  const failure = {
    kind: 'connect' as const,
    sent: false,
    cause: new Error('no provider of this model is configured'),
  };
  return { kind: 'failed', failure, reader: null, bytes: 0, reached: false };
}
