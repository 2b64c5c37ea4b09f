/**
 * What a follow-up reads beside its own body: the answers that it names, and all that those followed, as their provider counted it when it
 * made them. So a step of a long talk is held for at the length of the talk and not at the context window, and pays for it too when
 * its client leaves before the provider has counted again.
 *
 * That is a bound only where nothing was read uncounted, in all of the talk: what tools of the provider found, what was cut off to fit,
 * pictures that may have been made smaller. Elsewhere it is a likely length, and the context window is the bound.
 */
import type { Unit, Usage } from '../../catalog/units.ts';
import type { MeteredRequest, NamedContext, StoredId } from '../../metering/requests/types.ts';
import type { Metering } from '../billed.ts';
import { tokensOf } from '../stream-ends.ts';
import type { OwnedId, StoredContext } from './ids.ts';

/** How each item of an answer is introduced when it is read again: a few tokens, that need not be among those that were written. */
const ITEM_TOKENS = 64;
/** No context is as long. A provider that says so is not believed. */
const MOST_TOKENS = 100_000_000;

/** An answer that its provider has stored. */
export interface Made {
  /** Its ids. */
  made: readonly string[];
  /** The provider's name of the model that made it. */
  model: string | undefined;
  /** Whether all that was read for it was counted: `readsCounted` of its request. */
  isCounted: boolean;
}

/** Whether the usage of an answer counts all that its provider read for it, and will read again for what follows. */
export function readsCounted({ readsUncounted, named }: MeteredRequest): boolean {
  return readsUncounted !== true && named?.isCounted !== false;
}

/** What of an answer a follow-up reads. `null`: its provider has not said. */
export function contextOf(
  { made, model, isCounted }: Made,
  used: Pick<Metering, 'usage' | 'source'> | null,
): StoredContext | null {
  if (used?.source !== 'provider' || model === undefined) return null;
  const { usage } = used;
  const { input, output } = tokensOf(usage);
  if (input + output > MOST_TOKENS) return null;
  const calls = callsIn(usage);
  return {
    model,
    // After each call of a tool the context was read again.
    inputTokens: Math.ceil(input / (1 + calls)),
    outputTokens: output,
    thoughtTokens: usage.reasoning ?? 0,
    items: made.length,
    isBound: isCounted && calls === 0 && input > 0,
  };
}

function callsIn(usage: Usage): number {
  const tools = (Object.keys(usage) as Unit[]).filter((unit) => unit.startsWith('tool:'));
  return tools.reduce((calls, unit) => calls + usage[unit]!, 0);
}

/**
 * What a request reads that names these. `models`: the provider's names of those that may answer it. `recalls`: it may read what
 * the answers that it names were made without.
 */
export function namedContext(
  named: readonly StoredId[],
  found: ReadonlyMap<string, OwnedId>,
  models: readonly string[],
  recalls: boolean,
): NamedContext {
  const sum = { most: 0, likely: 0, isCounted: true };
  let isBound = !recalls && new Set(named.map(({ id }) => id)).size === named.length;
  const seen = new Set<string>();
  for (const { id, kind } of named) {
    const { request, context } = found.get(id)!;
    sum.isCounted &&= context?.isBound === true;
    isBound &&= context?.isBound === true && models.every((model) => model === context.model);
    // Several items of one answer are no more than the answer.
    if (context === null || seen.size === seen.add(`${kind} ${request}`).size) continue;
    const { inputTokens, outputTokens, thoughtTokens, items } = context;
    sum.most += (kind === 'response' ? inputTokens : 0) + outputTokens + ITEM_TOKENS * items;
    // Thoughts are read again where they are named: a response that is followed may be read without.
    sum.likely += kind === 'response' ? inputTokens + outputTokens - thoughtTokens : outputTokens;
  }
  return { ...sum, most: isBound ? sum.most : null };
}
