/**
 * What is known of one request, and which step fills it. A field that a step has not reached yet is `null`; `need()`
 * reads one that an earlier step must have filled.
 *
 *   opened ──1,2,3──▶ admitted ──4──▶ held ──5,6──▶ answered ──7──▶ settled      (held may grow while a stream is answered)
 *      │                 │              │ nothing sent, or a definite error ──▶ released
 *      └── refused ◀─────┘              └ sent, then broken or abandoned ──7──▶ settled by estimate
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Caller } from '../accounts/authenticate.ts';
import type { Principal } from '../accounts/principals.ts';
import type { Catalog, Model } from '../catalog/types.ts';
import type { Subject, Taken } from '../entitlements/limits/limiter.ts';
import type { Hold } from '../ledger/operations.ts';
import type { Uuid } from '../lib/ids.ts';
import type { AttemptFacts, Policy } from '../metering/receipt.ts';
import type { MeteredRequest } from '../metering/requests/types.ts';
import type { Endpoint } from './endpoints.ts';
import type { Claim } from './idempotency/claim.ts';
import type { Slices } from './slices.ts';
import type { Upload } from './upload.ts';

/** How the answer to the client ended, for the log and the receipt. */
export type Disconnect = 'aborted' | 'drained';

export interface Context {
  // Filled when the request arrives.
  readonly id: Uuid;
  readonly publicId: string;
  readonly endpoint: Endpoint;
  readonly startedAt: number;
  readonly caller: Caller;
  readonly headers: IncomingHttpHeaders;
  /** The model that its path names, in the place of its body's (deployments.ts). */
  deployment: string | null;
  readonly response: ServerResponse;
  /** Set by the socket: the client went away before it had the whole answer. */
  clientGone: boolean;

  // 1-authenticate
  principal: Principal | null;

  // 2-parse
  body: Buffer | null;
  /** Instead of `body`: a form, whose bytes are not held in memory. */
  upload: Upload | null;
  request: MeteredRequest | null;

  // 3-entitle
  catalog: Catalog | null;
  model: Model | null;
  /** What it took of rate limits, and of whose; null: nothing limits it. */
  limited: { subjects: readonly Subject[]; taken: Taken } | null;

  // idempotency/, of a request with an Idempotency-Key
  claim: Claim | null;

  // owned/, of a request that names what a provider has stored
  /** The one provider that has it; null: any will do. */
  onlyProvider: string | null;

  // 4-hold
  hold: Hold | null;
  /** Nano-credits granted; null until the ledger answered. */
  held: bigint | null;
  /** The output limit sent upstream, in tokens, where the balance lowered it. */
  clampedTo: number | null;
  /** Where less is held than the request can cost: what extends the hold as output flows. */
  slices: Slices | null;
  /** The extension asked for last: resolves when `held` is what it made of it; null: none was. */
  extending: Promise<unknown> | null;

  // 5-forward
  attempts: AttemptFacts[];

  // background/, of a request whose answer runs on after it
  /** Hears the id of a stream's response as soon as it is told; null: nobody waits for it. */
  onMade: ((provider: string, id: string) => void) | null;
  /** Whether that was noted. */
  noting: Promise<boolean> | null;
  /** Its hold is the job's to settle. */
  isHandedOver: boolean;

  // 6-relay
  disconnect: Disconnect | null;
  /** Which setting of the model decided what is charged. */
  policy: Policy | null;

  /** Ids of what the provider has stored of the answer, the answer's own first; null: nothing. */
  made: readonly string[] | null;

  // 7-settle and 8-fail
  charged: bigint | null;
  usageSource: 'provider' | 'estimated' | null;
  status: number | null;
}

/** The context of a request that has just arrived: no step has run. `startedAt` in milliseconds since the epoch. */
export function openContext(
  id: Uuid,
  publicId: string,
  endpoint: Endpoint,
  startedAt: number,
  caller: Caller,
  response: ServerResponse,
): Context {
  return {
    id,
    publicId,
    endpoint,
    startedAt,
    caller,
    headers: caller.headers,
    deployment: null,
    response,
    clientGone: false,
    principal: null,
    body: null,
    upload: null,
    request: null,
    catalog: null,
    model: null,
    limited: null,
    claim: null,
    onlyProvider: null,
    hold: null,
    held: null,
    clampedTo: null,
    slices: null,
    extending: null,
    attempts: [],
    onMade: null,
    noting: null,
    isHandedOver: false,
    disconnect: null,
    policy: null,
    made: null,
    charged: null,
    usageSource: null,
    status: null,
  };
}

/** A field that an earlier step must have filled: its absence is a fault in the pipeline's order. */
export function need<K extends keyof Context>(context: Context, field: K): NonNullable<Context[K]> {
  const value = context[field];
  if (value === null || value === undefined) throw new Error(`step order: ${field} is not filled yet`);
  return value as NonNullable<Context[K]>;
}
