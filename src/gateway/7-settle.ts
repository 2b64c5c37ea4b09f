/**
 * Step 7: usage × frozen price → charge and receipt, one operation, committed before the last bytes leave. A ledger that
 * does not answer within a second keeps no client waiting: the charge is then in the journal, and the last bytes leave.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { charge } from '../catalog/rating.ts';
import type { Usage } from '../catalog/units.ts';
import { MAX_RECEIPT_BYTES } from '../ledger/journal/record.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import { formatCredits, MAX_NANO } from '../lib/money.ts';
import { likelyInput } from '../metering/bounds.ts';
import { encodeReceipt } from '../metering/receipt.ts';
import type { Logger } from '../observe/log.ts';
import type { Relay } from './6-relay.ts';
import { billed, type Metering } from './billed.ts';
import { type Context, need } from './context.ts';
import { endLimits } from './rate-limits.ts';

/** A stream may end while its hold is being extended; its last bytes wait no longer than this for that answer. */
const EXTENSION_MS = 500;

export interface SettleDeps {
  writer: LedgerWriter;
  creditsPerUsd: bigint;
  log: Logger;
}

export type { Metering } from './billed.ts';

/** Charges the request. Resolves with the ledger's answer, or `null` once the journal has the charge; never throws. */
export async function settle(context: Context, deps: SettleDeps, metered: Metering): Promise<Result | null> {
  const held = await heldAtEnd(context);
  const metering = charged(context, deps, metered, held);
  const rated = costOf(context, deps, metering);
  // What a provider reports is booked, whatever was held; only what cannot be an amount at all is cut.
  const most = metering.source === 'estimated' ? held : MAX_NANO;
  const amount = rated > most ? most : rated;
  if (amount > held) {
    const [charged, before] = [formatCredits(amount), formatCredits(held)];
    deps.log.warn({ req: context.publicId, held: before, charged }, 'a charge exceeds its hold; it is booked in full');
  }
  context.charged = amount;
  context.usageSource = metering.source;
  const receipt = receiptOf(context, deps, metering, held);
  const { account } = need(context, 'principal');
  const ended = deps.writer.settle({ verb: 'settle', account, id: context.id, amount, receipt });
  return answerOf(deps, context, ended, metering.usage);
}

/**
 * What is held in the end, as the receipt tells it. An extension that is not answered yet is waited for: the ledger takes it
 * before what ends the hold. Only one that a ledger takes after it was away too long is missing on the receipt.
 */
async function heldAtEnd(context: Context): Promise<bigint> {
  if (context.extending !== null) {
    await Promise.race([context.extending, sleep(EXTENSION_MS, undefined, { ref: false })]);
  }
  return need(context, 'held');
}

/** What of the usage is charged: with what was asked for and is not reported; of an estimate, as much as the hold pays for. */
export function charged(
  context: Context,
  deps: SettleDeps,
  metered: Metering,
  held: bigint = need(context, 'held'),
): Metering {
  const { asks, terms } = need(context, 'request');
  const { price, painter } = need(context, 'model');
  return billed(metered, { asks, terms, painter, price, held, creditsPerUsd: deps.creditsPerUsd });
}

function costOf(context: Context, { creditsPerUsd }: SettleDeps, { usage, terms }: Metering): bigint {
  return charge(usage, need(context, 'model').price, creditsPerUsd, terms);
}

/** Ends the hold without a charge: nothing was served. Never throws. */
export async function release(context: Context, deps: SettleDeps): Promise<Result | null> {
  context.charged = 0n;
  const receipt = receiptOf(context, deps, { usage: {}, source: 'provider' }, await heldAtEnd(context));
  const { account } = need(context, 'principal');
  return answerOf(deps, context, deps.writer.release({ verb: 'release', account, id: context.id, receipt }), {});
}

/** The receipt; what was frozen with the hold, should there be a fault in writing it: the hold ends all the same. */
function receiptOf(context: Context, deps: SettleDeps, metering: Metering, held: bigint): Buffer {
  try {
    return fittingReceipt(context, metering, held);
  } catch (error) {
    deps.log.error({ req: context.publicId, err: error }, 'a receipt could not be written; its usage is not told');
    return need(context, 'hold').frozen;
  }
}

/** The receipt, as long as the journal can keep: of very many attempts the first are left out. */
function fittingReceipt(context: Context, metering: Metering, held: bigint): Buffer {
  const model = need(context, 'model');
  const facts = {
    endpoint: context.endpoint.name,
    model: model.name,
    priceVersion: model.priceVersion,
    price: model.price,
    priceSource: model.priceSource,
    stream: need(context, 'request').stream,
    createdAt: context.startedAt,
    held,
    usage: metering.usage,
    terms: metering.terms,
    usageSource: metering.source,
    clampedTo: context.clampedTo,
    disconnect: context.disconnect,
    policy: context.policy,
    attempts: context.attempts,
  };
  let receipt = encodeReceipt(facts);
  for (let from = 1; receipt.length > MAX_RECEIPT_BYTES && from <= context.attempts.length; from++) {
    receipt = encodeReceipt({ ...facts, attempts: context.attempts.slice(from) });
  }
  return receipt;
}

/** Waits for the ledger, or for the journal where the ledger does not answer; then, before the last bytes leave, its limits end. */
async function answerOf(
  deps: SettleDeps,
  context: Context,
  answer: Promise<Result>,
  usage: Usage,
): Promise<Result | null> {
  try {
    const result = await answer;
    if (!['done', 'repeated', 'late'].includes(result.outcome)) {
      deps.log.error({ req: context.publicId, outcome: result.outcome }, 'the ledger refused to end a hold');
    }
    return result;
  } catch (error) {
    deps.log.warn(
      { req: context.publicId, err: error },
      'the ledger did not take a charge; it is kept, and tried again',
    );
    return null;
  } finally {
    endLimits(context, usage);
  }
}

/** What a stream has cost so far, at the frozen price: what the heartbeat notes, should this process die. */
export function costSoFar(context: Context, relay: Relay, creditsPerUsd: bigint): bigint {
  const model = need(context, 'model');
  const likely = likelyInput(need(context, 'request'), model);
  return charge({ ...likely, output: relay.reader?.outputEstimate() ?? 0 }, model.price, creditsPerUsd);
}
