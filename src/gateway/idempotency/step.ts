/**
 * Between entitle and hold: a request with an `Idempotency-Key` claims it, or gets what the first one with it got. None of it
 * concerns a request without that header.
 */
import { presentedKey } from '../../accounts/authenticate.ts';
import { TollgateError } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { publicUuid, type Uuid } from '../../lib/ids.ts';
import type { Logger } from '../../observe/log.ts';
import { type Context, need } from '../context.ts';
import { Claim } from './claim.ts';
import { AnswerDropped, type Claims, type KeptAnswer, type Place, type Refusal } from './claims.ts';
import type { Replays } from './replays.ts';
import { macOf } from './seal.ts';

const HEADER = 'idempotency-key';
const MAX_NAME_CHARS = 255;
/** Policy may change again while it is read again, but not for ever. */
const STALE_RETRIES = 3;
/** Nobody knows how long the first request will take. */
const IN_USE_RETRY_MS = 1_000;

export interface ClaimDeps {
  claims: Claims;
  replays: Replays;
  clock: Clock;
  log: Logger;
  /** Reads policy again, entitles again, and takes its limits where they are others: throws when that now denies. */
  admitAfresh: (context: Context) => Promise<void>;
}

/**
 * Fills `claim` where the request has a key that nobody has. False: it was answered already, and so is this one. Throws
 * `idempotency_*`, `invalid_request`, and what entitling again throws.
 */
export async function claimKey(context: Context, deps: ClaimDeps): Promise<boolean> {
  const header = context.headers[HEADER];
  if (header === undefined) return true;
  const apiKey = presentedKey(context.headers);
  if (apiKey === null) throw new TollgateError('invalid_api_key');
  const name = nameOf(header);
  for (let tries = 0; ; tries++) {
    // The key may have been replaced since: it then spends as the new one.
    const place = placeOf(context, apiKey, name);
    const askedAt = deps.clock.now();
    const { policyVersion } = need(context, 'principal');
    const standing = await deps.claims.claim(place, policyVersion, need(context, 'catalog').version);
    switch (standing.outcome) {
      case 'claimed':
        context.claim = new Claim({ ...deps, place, apiKey, askedAt });
        return true;
      case 'kept':
        await replay(context, deps, apiKey, place, standing);
        return false;
      case 'stale_policy':
        if (tries === STALE_RETRIES) {
          throw new TollgateError('overloaded', { cause: 'the policy changed with every attempt to read it' });
        }
        await deps.admitAfresh(context);
        break;
      default:
        throw refusal(standing);
    }
  }
}

function nameOf(header: string | string[]): string {
  const name = String(header);
  if (name.length > 0 && name.length <= MAX_NAME_CHARS) return name;
  throw new TollgateError('invalid_request', {
    param: HEADER,
    message: `Invalid header 'Idempotency-Key': send 1 to ${MAX_NAME_CHARS} characters, or leave it out.`,
  });
}

/**
 * The query counts as part of the path. A form is what its parts are, and its boundary no part of it: who sends it again draws
 * another one.
 */
function placeOf(context: Context, apiKey: string, name: string): Place {
  const { account, key } = need(context, 'principal');
  const { method = '', url = '' } = context.response.req;
  // Of a form the deployment is in none of its bytes (deployments.ts); of all else it is in the body already.
  const deployment = context.deployment === null ? [] : [context.deployment];
  const { upload } = context;
  const type = upload === null ? (context.headers['content-type'] ?? '') : 'multipart/form-data';
  const body = upload === null ? need(context, 'body') : upload.fingerprint!;
  const fingerprint = macOf(apiKey, 'request', method, url, type, body, ...deployment);
  return { account, key, name: macOf(apiKey, 'name', name), fingerprint, request: context.id };
}

async function replay(
  context: Context,
  { claims, replays }: ClaimDeps,
  apiKey: string,
  place: Place,
  kept: KeptAnswer,
): Promise<void> {
  try {
    context.status = await replays.replay(context.response, apiKey, place, kept, claims.pieces(place, kept));
  } catch (error) {
    throw error instanceof AnswerDropped ? refusal({ outcome: 'dropped', request: kept.request }) : error;
  }
}

function refusal({ outcome, request }: Refusal): TollgateError {
  switch (outcome) {
    case 'reused':
      return new TollgateError('idempotency_key_reused', { param: HEADER });
    case 'in_use':
      return new TollgateError('idempotency_key_in_use', { param: HEADER, retryAfterMs: IN_USE_RETRY_MS });
    case 'lost':
      return gone('idempotency_result_lost', 'is lost', request);
    case 'too_large':
      return gone('idempotency_result_too_large', 'was too large to keep', request);
    case 'dropped':
      return gone('idempotency_result_too_large', 'was dropped to keep newer ones of this account', request);
  }
}

/** It was forwarded, and is not again: the receipt says what it cost. */
function gone(
  code: 'idempotency_result_lost' | 'idempotency_result_too_large',
  why: string,
  request: Uuid,
): TollgateError {
  const id = publicUuid('req', request);
  return new TollgateError(code, {
    param: HEADER,
    message: `The answer to the first request with this Idempotency-Key ${why}. GET /account/v1/requests/${id} says what it cost. To ask again, at new cost, send a new key.`,
  });
}
