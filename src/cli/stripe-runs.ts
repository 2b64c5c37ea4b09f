/** What the commands of Stripe do. */
import { loadConfig } from '../config.ts';
import { TollgateError } from '../errors.ts';
import { silentLogger } from '../observe/log.ts';
import { stripeFault } from '../payments/faults.ts';
import { Inbox } from '../payments/inbox.ts';
import { claimOne } from '../payments/inbox-rows.ts';
import { fetchIntoInbox, findInInbox, replayEvent } from '../payments/inbox-view.ts';
import { linesOf, presentReport } from '../payments/reconcile/present.ts';
import { reconcile } from '../payments/reconcile/reconcile.ts';
import { sync } from '../payments/sync/sync.ts';
import { type Endpoint, endpointUrl, setUpEndpoint } from '../payments/webhook-endpoint.ts';
import { type Line, type Result, UsageError } from './command.ts';
import { stripeOf, withPayments } from './payments.ts';

/** `stripe setup` */
export async function setUp({ values, switches }: Line): Promise<Result> {
  const url = usable(values.url!);
  const { client, livemode } = stripeOf(loadConfig());
  const endpoint = await setUpEndpoint(client, url, { prune: switches.has('prune') }).catch((error) => {
    throw inItsWords(error);
  });
  const { id, apiVersion, outcome, secret, others } = endpoint;
  const mode = livemode ? 'live' : 'test';
  const json = { id, url, mode, api_version: apiVersion, outcome, secret, others: others.map(toJson) };
  return { json, text: inWords(endpoint, mode).join('\n') };
}

const toJson = ({ id, apiVersion, deleted }: Endpoint['others'][number]) => ({ id, api_version: apiVersion, deleted });

function usable(text: string): string {
  try {
    return endpointUrl(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function inWords({ id, url, outcome, secret, others }: Endpoint, mode: string): string[] {
  const lines = [
    outcome === 'made'
      ? `Made ${id} (${mode} mode): Stripe sends its events to ${url}.`
      : outcome === 'updated'
        ? `Updated ${id} (${mode} mode): ${url} gets all the events now. Its secret stays.`
        : `${id} (${mode} mode) sends all the events to ${url} already. Its secret is the one that was shown when it was made.`,
  ];
  const left = others.filter(({ deleted }) => !deleted);
  if (secret !== null) {
    lines.push('', 'Set this where the gateway reads its environment, and restart it. It is not shown again:', '');
    lines.push(left.length === 0 ? `STRIPE_WEBHOOK_SECRET=${secret}` : `STRIPE_WEBHOOK_SECRET=<the old one>,${secret}`);
  }
  for (const one of others) {
    const which = `${one.id}, of the same URL in version ${one.apiVersion ?? '(the default of the account)'}`;
    lines.push(
      '',
      one.deleted ? `Deleted ${which}.` : `${which}, is left. Once the gateway has the new secret: --prune`,
    );
  }
  return lines;
}

/** `stripe replay` */
export function replay({ positional }: Line): Promise<Result> {
  return withPayments(async (deps) => {
    const id = positional[0]!;
    const known = (await findInInbox(deps.pool, id)) !== null;
    if (!known && !(await fetchIntoInbox({ ...deps, log: silentLogger }, id))) {
      throw new TollgateError('not_found', { message: `Neither the inbox nor Stripe has the event "${id}".` });
    }
    await replayEvent(deps.pool, id);
    const claim = await claimOne(deps.pool, id);
    // A gateway beside us may have been quicker: then it says how that went.
    if (claim !== null) await new Inbox({ deps: { ...deps, log: silentLogger }, sync }).work(claim);
    const { state, type, objectId, error } = (await findInInbox(deps.pool, id))!;
    const failed = state === 'waiting' || state === 'dead';
    const json = { id, type, object_id: objectId, state, error };
    return { json, text: `${id} (${type} of ${objectId}): ${state}${error === null ? '' : `; ${error}`}`, failed };
  });
}

/** What Stripe says of a fault, to whoever holds its key. */
function inItsWords(error: unknown): Error {
  return stripeFault(error, silentLogger).code === 'stripe_unavailable'
    ? new TollgateError('stripe_unavailable', { cause: error })
    : new Error(`Stripe refused: ${(error as Error).message}`, { cause: error });
}

/** `stripe reconcile` */
export function reconcileNow({ values, switches, progress }: Line): Promise<Result> {
  const from = values.from === undefined ? null : instantOf(values.from);
  return withPayments(async (deps) => {
    const report = await reconcile(deps, { from, repair: switches.has('repair'), progress });
    return { json: presentReport(report), text: linesOf(report).join('\n'), failed: !report.ok };
  });
}

function instantOf(text: string): Date {
  const from = new Date(/^\d{4}-\d\d-\d\d/.test(text) ? text : Number.NaN);
  if (Number.isNaN(from.getTime())) throw new UsageError(`--from must be a date such as 2026-01-31, not "${text}"`);
  if (from.getTime() > Date.now()) throw new UsageError('--from must not be in the future');
  return from;
}
