/**
 * Reads responses that run in the background until they have ended, and settles what they cost: by any gateway, once, whichever dies.
 *
 *   due ──its hold has ended──▶ closed
 *    ├──no id: its gateway died──▶ ended as a dead gateway's hold (on_orphan)
 *    └──read──▶ runs on ──▶ due later: after a tenth of its age, 2 s to a minute      older than a day ──▶ cancelled, then read again
 *          ├──ended, or failed──▶ settled by its usage; counted where it has none
 *          └──unknown to its provider, or its provider is away──▶ due later      older than a day ──▶ on_orphan
 *
 * A settle that is done twice, because a process died between it and the end of its row, answers as it did: the same response costs
 * the same.
 */
import type { Terms } from '../../catalog/price.ts';
import { charge } from '../../catalog/rating.ts';
import type { Usage } from '../../catalog/units.ts';
import type { LedgerWriter } from '../../ledger/writer.ts';
import { describeError } from '../../lib/describe-error.ts';
import { publicUuid } from '../../lib/ids.ts';
import type { Job } from '../../lib/job.ts';
import { MAX_NANO } from '../../lib/money.ts';
import { sumOf } from '../../metering/readers/events.ts';
import { dialectOf } from '../../metering/readers/index.ts';
import type { Answer } from '../../metering/readers/types.ts';
import { decodeReceipt, encodeReceipt, type Policy } from '../../metering/receipt.ts';
import type { TokenCounter } from '../../metering/tokens/counter.ts';
import type { Logger } from '../../observe/log.ts';
import type { Provider } from '../../upstream/types.ts';
import { billed } from '../billed.ts';
import { contextOf } from '../owned/follow-up.ts';
import type { OwnedIds } from '../owned/ids.ts';
import { fetchWhole } from './fetch.ts';
import { type BackgroundHold, type BackgroundRow, type BackgroundRows, MOST_AGE_MS } from './rows.ts';

export const BACKGROUND_JOB = 'background-responses';

const AT_ONCE = 16;
const EVERY_MS = 1_000;
const LEAST_WAIT_MS = 2_000;
const MOST_WAIT_MS = 60_000;

export interface BackgroundJobDeps {
  background: BackgroundRows;
  owned: OwnedIds;
  providers: ReadonlyMap<string, Provider>;
  writer: LedgerWriter;
  tokens: TokenCounter;
  creditsPerUsd: bigint;
  log: Logger;
}

/** What a response used; null: nothing was served. */
type Used = { usage: Usage; source: 'provider' | 'estimated'; terms: Terms } | null;

export function backgroundJob(deps: BackgroundJobDeps): Job {
  return {
    name: BACKGROUND_JOB,
    everyMs: EVERY_MS,
    run: async () => {
      const rows = await deps.background.claim(AT_ONCE);
      const done = await Promise.allSettled(rows.map((row) => advance(deps, row)));
      const failed = done.find((one) => one.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      return rows.length === AT_ONCE;
    },
  };
}

/** Settles a response now where it runs in the background and has ended. Whether nothing of it is left to be settled. Throws as `advance`. */
export async function settleNow(
  deps: BackgroundJobDeps,
  { account, provider, id }: { account: bigint; provider: string; id: string },
): Promise<boolean> {
  const row = await deps.background.claimOf(account, provider, id);
  return row === null || advance(deps, row);
}

/** Reads a claimed response, and settles it where it has ended. Whether its hold has ended. Throws where the ledger does not answer. */
export async function advance(deps: BackgroundJobDeps, row: BackgroundRow): Promise<boolean> {
  const hold = await deps.background.holdOf(row);
  if (hold === null) {
    await deps.background.close(row.account, row.request);
    return true;
  }
  if (row.responseId === null) return orphaned(deps, row, hold);
  const answer = await read(deps, row, 'GET', '');
  if (answer !== null && answer.isRunning !== true) return ended(deps, row, hold, answer);
  if (row.ageMs <= MOST_AGE_MS) {
    await deps.background.putOff(row, Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, row.ageMs / 10)));
    return false;
  }
  const cancelled = await read(deps, row, 'POST', '/cancel');
  if (cancelled !== null && cancelled.isRunning !== true) return ended(deps, row, hold, cancelled);
  return orphaned(deps, row, hold);
}

/** Null: its provider is away, or knows no such response. */
async function read(
  { providers }: BackgroundJobDeps,
  { provider, responseId }: BackgroundRow,
  method: 'GET' | 'POST',
  call: string,
): Promise<Answer | null> {
  const at = providers.get(provider!);
  const fetched = at === undefined ? null : await fetchWhole(at, method, `/responses/${responseId}${call}`);
  if (fetched === null || fetched.status >= 300) return null;
  const answer = responses.readJson(fetched.body, fetched.headers);
  return answer.made?.includes(responseId!) === true ? answer : null;
}

const responses = dialectOf('responses')!;

/** Settles by what the response says that it used. */
async function ended(
  deps: BackgroundJobDeps,
  row: BackgroundRow,
  hold: BackgroundHold,
  answer: Answer,
): Promise<boolean> {
  const used = await usedBy(deps, row, hold, answer);
  await noteEnded(deps, row, answer, used);
  if (used === null) return end(deps, row, hold, { amount: null, usage: {}, source: 'provider', policy: null });
  const { price } = decodeReceipt(hold.frozen);
  const { asks, terms: asked, painter } = row.facts;
  const { creditsPerUsd } = deps;
  const metering = billed(used, { asks, terms: asked, painter, price, held: hold.amount, creditsPerUsd });
  const { usage, source, terms } = metering;
  const rated = charge(usage, price, creditsPerUsd, terms);
  const most = source === 'estimated' ? hold.amount : MAX_NANO;
  return end(deps, row, hold, { usage, source, terms, amount: rated > most ? most : rated, policy: null });
}

/** Its items are its account's too, and a step that follows it reads as much as it says. Never throws: the charge does not wait for it. */
async function noteEnded(
  { owned, log }: BackgroundJobDeps,
  { account, provider, request, facts }: BackgroundRow,
  answer: Answer,
  used: Used,
): Promise<void> {
  const made = answer.made ?? [];
  const model = facts.attempts.at(-1)?.model;
  const context = contextOf({ made, model, isCounted: facts.isCounted === true && answer.failed !== true }, used);
  await owned.note(account, provider!, request, made, context).catch((error) => {
    const cause = describeError(error);
    log.warn(
      { req: publicUuid('req', request), cause },
      'items of a background response are not noted: they are nobody’s',
    );
  });
}

async function usedBy(
  deps: BackgroundJobDeps,
  row: BackgroundRow,
  hold: BackgroundHold,
  answer: Answer,
): Promise<Used> {
  const { reported, beside, terms, generatedText, isError } = answer;
  if (reported !== null) {
    return { usage: sumOf([responses.normalise(reported), beside]), source: 'provider', terms };
  }
  if (isError) return null;
  const { model } = decodeReceipt(hold.frozen);
  const output = generatedText.length === 0 ? 0 : await deps.tokens.count(generatedText, model);
  return { usage: sumOf([{ ...row.facts.likely, output }, beside]), source: 'estimated', terms };
}

/** As the hold of a gateway that died: nobody can say what was used. */
function orphaned(deps: BackgroundJobDeps, row: BackgroundRow, hold: BackgroundHold): Promise<boolean> {
  const { onOrphan, amount: held, floor } = hold;
  const amount = onOrphan === 'release' ? null : onOrphan === 'charge_hold' ? held : floor;
  const usage = amount === null ? {} : row.facts.likely;
  return end(deps, row, hold, { amount, usage, source: 'estimated', policy: `on_orphan: ${onOrphan}` });
}

interface Ending {
  /** Nano-credits; null: the hold is released. */
  amount: bigint | null;
  usage: Usage;
  source: 'provider' | 'estimated';
  terms?: Terms | undefined;
  policy: Policy | null;
}

async function end(
  deps: BackgroundJobDeps,
  row: BackgroundRow,
  hold: BackgroundHold,
  ending: Ending,
): Promise<boolean> {
  const { account, request: id, facts } = row;
  const { usage, source, terms, policy, amount } = ending;
  const { clampedTo } = facts;
  // Of one whose gateway died while it streamed.
  const begun = row.provider === null ? [] : [{ provider: row.provider, status: null, outcome: 'abandoned', ms: 0 }];
  const attempts = facts.attempts.length > 0 ? facts.attempts : begun;
  const frozen = decodeReceipt(hold.frozen);
  const told = { usage, usageSource: source, terms, policy, clampedTo, attempts, disconnect: null, held: hold.amount };
  const receipt = encodeReceipt({ ...frozen, ...told });
  const { outcome } = await deps.writer.endNamed(
    amount === null ? { verb: 'release', account, id, receipt } : { verb: 'settle', account, id, amount, receipt },
  );
  const line = {
    req: publicUuid('req', id),
    provider: row.provider,
    charged: amount?.toString() ?? '0',
    source,
    policy,
    outcome,
  };
  if (['done', 'repeated', 'late', 'already_expired'].includes(outcome))
    deps.log.info(line, 'a background response is settled');
  else deps.log.error(line, 'the ledger refused to end a hold');
  await deps.background.close(account, id);
  return true;
}
