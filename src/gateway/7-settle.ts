/**
 * Step 7: usage × frozen price → charge and receipt, one operation, committed before the last bytes leave. A ledger that
 * does not answer within a second keeps no client waiting: the charge is tried on, and the last bytes leave.
 */
import { charge } from '../catalog/rating.ts';
import type { Usage } from '../catalog/units.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import type { Clock } from '../lib/clock.ts';
import { MAX_NANO } from '../lib/money.ts';
import { inputEstimate } from '../metering/bounds.ts';
import { encodeReceipt } from '../metering/receipt.ts';
import type { Logger } from '../observe/log.ts';
import type { Relay } from './6-relay.ts';
import { type Context, need } from './context.ts';

const LAST_BYTES_WAIT_MS = 1_000;

export interface SettleDeps {
  writer: LedgerWriter;
  creditsPerUsd: bigint;
  clock: Clock;
  log: Logger;
}

/** What was used, and where the number comes from. An estimate never charges more than the hold. */
export interface Metering {
  usage: Usage;
  source: 'provider' | 'estimated';
}

/** Charges the request. Resolves with the ledger's answer, or `null` when none came within a second; never throws. */
export function settle(context: Context, deps: SettleDeps, metering: Metering): Promise<Result | null> {
  const rated = charge(metering.usage, need(context, 'model').price, deps.creditsPerUsd);
  const held = need(context, 'held');
  // What a provider reports is booked, whatever was held; only what cannot be an amount at all is cut.
  const most = metering.source === 'estimated' ? held : MAX_NANO;
  const amount = rated > most ? most : rated;
  context.charged = amount;
  context.usageSource = metering.source;
  const receipt = receiptOf(context, metering, held);
  const { account } = need(context, 'principal');
  return patiently(deps, context, deps.writer.settle({ verb: 'settle', account, id: context.id, amount, receipt }));
}

/** Ends the hold without a charge: nothing was served. Never throws. */
export function release(context: Context, deps: SettleDeps): Promise<Result | null> {
  context.charged = 0n;
  const receipt = receiptOf(context, { usage: {}, source: 'provider' }, need(context, 'held'));
  const { account } = need(context, 'principal');
  return patiently(deps, context, deps.writer.release({ verb: 'release', account, id: context.id, receipt }));
}

function receiptOf(context: Context, metering: Metering, held: bigint): Buffer {
  const model = need(context, 'model');
  return encodeReceipt({
    endpoint: context.endpoint,
    model: model.name,
    priceVersion: model.priceVersion,
    price: model.price,
    stream: need(context, 'request').stream,
    createdAt: context.startedAt,
    held,
    usage: metering.usage,
    usageSource: metering.source,
    clampedTo: context.clampedTo,
    disconnect: context.disconnect,
    attempts: context.attempts,
  });
}

/** Waits for the ledger, but not longer than a client may be kept waiting for its last bytes. */
function patiently(deps: SettleDeps, context: Context, answer: Promise<Result>): Promise<Result | null> {
  return new Promise((resolve) => {
    const enough = setTimeout(() => resolve(null), LAST_BYTES_WAIT_MS);
    answer.then(
      (result) => {
        clearTimeout(enough);
        if (!['done', 'repeated', 'late'].includes(result.outcome)) {
          deps.log.error({ req: context.publicId, outcome: result.outcome }, 'the ledger refused to end a hold');
        }
        resolve(result);
      },
      (error) => {
        clearTimeout(enough);
        deps.log.error(
          { req: context.publicId, err: error },
          'a request could not be settled; its hold will be recovered',
        );
        resolve(null);
      },
    );
  });
}

/** What a stream has cost so far, at the frozen price: what the heartbeat notes, should this process die. */
export function costSoFar(context: Context, relay: Relay, creditsPerUsd: bigint): bigint {
  const model = need(context, 'model');
  const input = inputEstimate(need(context, 'request'), need(context, 'body').length, model);
  return charge({ input, output: relay.reader?.outputEstimate() ?? 0 }, model.price, creditsPerUsd);
}
