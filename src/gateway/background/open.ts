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
import { withUnreported } from '../../metering/requests/asks.ts';
import type { Logger } from '../../observe/log.ts';
import type { Provider } from '../../upstream/types.ts';
import { type Context, need } from '../context.ts';
import { isStoredId } from '../owned/ids.ts';
import type { Relayed } from '../relayed.ts';
import { fetchWhole } from './fetch.ts';
import type { BackgroundFacts, BackgroundRows } from './rows.ts';

export interface BackgroundDeps {
  background: BackgroundRows;
  providers: ReadonlyMap<string, Provider>;
  writer: LedgerWriter;
  log: Logger;
}

/** Notes that the request is such a one. Throws `ledger_unavailable`. */
export async function openBackground(context: Context, { background }: BackgroundDeps): Promise<void> {
  await promptly(background.open(need(context, 'principal').account, context.id, factsOf(context)));
}

/**
 * Hands a response that runs on to the job; false: it does not, and is settled like any other. Throws `ledger_unavailable` where that
 * cannot be noted: then it is being cancelled, and its hold is still to be ended.
 */
export async function handOver(
  context: Context,
  { headers, body, status }: Extract<Relayed, { kind: 'whole' }>,
  deps: BackgroundDeps,
): Promise<boolean> {
  if (body === null || status >= 300 || context.response.headersSent) return false;
  const answer = context.endpoint.dialect.readJson(body, headers);
  const responseId = answer.made?.[0];
  if (answer.isRunning !== true || responseId === undefined || !isStoredId(responseId)) return false;
  const { account } = need(context, 'principal');
  const { provider } = context.attempts.at(-1)!;
  const row = { account, request: context.id };
  try {
    const isNoted = await promptly(deps.background.handOver(row, { provider, responseId }, factsOf(context)));
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
  const likely = likelyInput(request, need(context, 'model'));
  return { likely, always: withUnreported({}, request.asks), clampedTo, attempts };
}
