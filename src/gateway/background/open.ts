/**
 * A request whose response runs on after it: noted before its hold, and handed to the job when the provider has answered with an id.
 *
 *   opened ──held, sent──▶ answered: it runs ──noted──▶ handed over: the job settles it
 *                             ├─ it has ended already ──▶ settled like any other
 *                             └─ the database does not take the note ──▶ cancelled at the provider, charged as far as is known, refused
 */
import { promptly } from '../../db/pool.ts';
import type { LedgerWriter } from '../../ledger/writer.ts';
import { describeError } from '../../lib/describe-error.ts';
import { likelyInput } from '../../metering/bounds.ts';
import type { Logger } from '../../observe/log.ts';
import { responseHeaders } from '../../upstream/headers.ts';
import type { Provider } from '../../upstream/types.ts';
import { errorOf } from '../8-fail.ts';
import { type Context, need } from '../context.ts';
import type { Answer } from '../idempotency/seal.ts';
import { readsCounted } from '../owned/follow-up.ts';
import { isStoredId } from '../owned/ids.ts';
import type { Relayed } from '../relayed.ts';
import { chargeHeaders, sendError } from '../respond.ts';
import { fetchWhole } from './fetch.ts';
import type { BackgroundFacts, BackgroundRows } from './rows.ts';

/** While its stream is relayed, nobody else need read it; should its gateway die, somebody does then. */
const STREAMED_MS = 300_000;
const SOON_MS = 1_000;

export interface BackgroundDeps {
  background: BackgroundRows;
  providers: ReadonlyMap<string, Provider>;
  writer: LedgerWriter;
  log: Logger;
}

/** Notes that the request is such a one. Throws `ledger_unavailable`. */
export async function openBackground(context: Context, deps: BackgroundDeps): Promise<void> {
  await promptly(deps.background.open(need(context, 'principal').account, context.id, factsOf(context)));
  context.onMade = (provider, responseId) => {
    context.noting = note(context, deps, { provider, responseId }, STREAMED_MS).catch((error) => {
      const cause = describeError(error);
      deps.log.warn({ req: context.publicId, cause }, 'the id of a background response is noted when its stream ends');
      return false;
    });
  };
}

function note(
  context: Context,
  { background }: BackgroundDeps,
  at: { provider: string; responseId: string },
  dueMs: number,
): Promise<boolean> {
  const row = { account: need(context, 'principal').account, request: context.id };
  return isStoredId(at.responseId) ? background.handOver(row, at, factsOf(context), dueMs) : Promise.resolve(false);
}

/**
 * Hands a response that runs on to the job; false: it does not, or its id is not known, and it is settled like any other. Throws
 * `ledger_unavailable` where it cannot be noted: then it is being cancelled, and its hold is still to be ended.
 */
export async function handOver(context: Context, relayed: Relayed, deps: BackgroundDeps): Promise<boolean> {
  const responseId = runningId(context, relayed);
  if (responseId === null || !isStoredId(responseId)) {
    await context.noting;
    return false;
  }
  const { provider } = context.attempts.at(-1)!;
  try {
    await context.noting;
    const isNoted = await promptly(note(context, deps, { provider, responseId }, SOON_MS));
    if (!isNoted) throw new Error('the row is gone');
  } catch (error) {
    const cause = describeError(error);
    deps.log.error({ req: context.publicId, cause }, 'a background response cannot be noted: it is cancelled');
    void fetchWhole(deps.providers.get(provider)!, 'POST', `/responses/${responseId}/cancel`);
    throw error;
  }
  context.isHandedOver = true;
  deps.writer.handOver(context.id);
  return true;
}

/** The id of a response that its provider goes on with; null: it has ended, or it is not known. */
function runningId(context: Context, relayed: Relayed): string | null {
  if (relayed.kind === 'whole') {
    const { body, headers, status } = relayed;
    if (body === null || status >= 300 || context.response.headersSent) return null;
    const answer = context.endpoint.dialect.readJson(body, headers);
    return answer.isRunning === true ? (answer.made?.[0] ?? null) : null;
  }
  const isCut = relayed.kind === 'abandoned' || relayed.kind === 'cut_short' || relayed.kind === 'failed';
  return isCut && relayed.reader?.finished === false ? (relayed.reader.made?.()[0] ?? null) : null;
}

/** What the client of a response that runs on is answered: what there is of it. A stream of it that broke does not look whole. */
export async function sendRunning(
  context: Context,
  relayed: Relayed,
  send: (answer: Answer) => Promise<void>,
): Promise<void> {
  const { response, endpoint } = context;
  if (relayed.kind === 'whole') {
    context.status = relayed.status;
    const headers = { ...responseHeaders(relayed.headers), ...chargeHeaders(context, null) };
    return send({ status: relayed.status, headers, body: relayed.body! });
  }
  await context.claim?.drop();
  if (relayed.kind === 'abandoned') {
    context.disconnect = 'aborted';
    response.destroy();
  } else if (relayed.kind === 'cut_short' || relayed.kind === 'failed') {
    const error = errorOf(relayed);
    context.status = error.status;
    if (!response.headersSent) sendError(response, context.publicId, error);
    else response.write(endpoint.ends.error(error, relayed.reader!), () => response.destroy());
  }
}

/** The request has ended, and its hold with it. Never throws: what is left of the row, the job closes. */
export async function closeBackground(context: Context, { background, log }: BackgroundDeps): Promise<void> {
  if (context.isHandedOver || context.principal === null) return;
  await background
    .close(context.principal.account, context.id)
    .catch((error) =>
      log.warn({ req: context.publicId, cause: describeError(error) }, 'a row of the background stays'),
    );
}

function factsOf(context: Context): BackgroundFacts {
  const request = need(context, 'request');
  const { attempts, clampedTo } = context;
  const model = need(context, 'model');
  const { asks, terms } = request;
  const [likely, isCounted] = [likelyInput(request, model), readsCounted(request)];
  return { likely, isCounted, asks, terms, painter: model.painter, clampedTo, attempts };
}
