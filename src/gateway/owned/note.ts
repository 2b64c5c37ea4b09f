/**
 * What an answer made at its provider is noted as its account's before the last bytes of the answer leave, beside the settle: who was
 * answered an id may use it at once. Where the database does not take the note in time, the answer leaves all the same, and its ids
 * are nobody's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../../lib/describe-error.ts';
import type { Logger } from '../../observe/log.ts';
import type { Metering } from '../billed.ts';
import { type Context, need } from '../context.ts';
import { contextOf, readsCounted } from './follow-up.ts';
import { isStoredId, type OwnedIds } from './ids.ts';

/** As long as a client waits for the settle, which runs at the same time. */
const NOTE_MS = 1_000;

export interface NoteDeps {
  owned: OwnedIds;
  log: Logger;
}

/**
 * Notes what `context.made` has, and what of it a follow-up reads, by what it used. Resolves when it is noted, or will not be in time;
 * `null`: there is nothing to note. Never throws.
 */
export function noteMade(context: Context, deps: NoteDeps, metering: Metering | null): Promise<void> | null {
  const { made, attempts } = context;
  const provider = attempts.at(-1)?.provider;
  if (made === null || made.length === 0 || provider === undefined) return null;
  return note(context, deps, made, provider, metering);
}

async function note(
  context: Context,
  deps: NoteDeps,
  made: readonly string[],
  provider: string,
  metering: Metering | null,
): Promise<void> {
  const { account } = need(context, 'principal');
  const model = context.attempts.at(-1)?.model;
  const isCounted = readsCounted(need(context, 'request'));
  const late = sleep(NOTE_MS, 'late' as const, { ref: false });
  try {
    const noted = deps.owned.note(account, provider, context.id, made, contextOf({ made, model, isCounted }, metering));
    const isLate = (await Promise.race([noted, late])) === 'late';
    // It may be noted yet; what it throws then was told of already.
    noted.catch(() => {});
    if (isLate) throw new Error('the database did not answer in time');
  } catch (error) {
    const cause = describeError(error);
    deps.log.warn(
      { req: context.publicId, ids: made.length, cause },
      'ids of an answer are not noted: they are nobody’s',
    );
  }
  const odd = made.filter((id) => !isStoredId(id)).length;
  if (odd > 0) deps.log.warn({ req: context.publicId, ids: odd, provider }, 'ids of an answer are too long or no ids');
}
