/**
 * What a follow-up reads beside its own body: the answers that it names, and all that those followed. It is at most what their provider
 * counted when it made them. So a step of a long talk is held for at the length of the talk and not at the context window, and pays
 * for it too when its client leaves before the provider has counted again.
 */
import type { NamedContext, StoredId } from '../../metering/requests/types.ts';
import type { Metering } from '../billed.ts';
import { tokensOf } from '../stream-ends.ts';
import type { OwnedId, StoredContext } from './ids.ts';

/** How each item of an answer is introduced when it is read again: a few tokens, that need not be among those that were written. */
const ITEM_TOKENS = 64;
/** No context is as long. A provider that says so is not believed. */
const MOST_TOKENS = 100_000_000;

export interface Made {
  /** Ids of an answer. */
  made: readonly string[];
  /** The provider's name of the model that made it. */
  model: string | undefined;
  /** How many times its request may have had the context read. */
  reads: number | undefined;
}

/**
 * What of an answer a follow-up reads. `null`: nobody knows, because its provider reported no usage, or may have run tools, whose
 * findings the model read without all of it being counted.
 */
export function contextOf(
  { made, model, reads }: Made,
  used: Pick<Metering, 'usage' | 'source'> | null,
): StoredContext | null {
  if (used?.source !== 'provider' || model === undefined || reads !== 1) return null;
  const { input, output } = tokensOf(used.usage);
  const answerTokens = output + ITEM_TOKENS * made.length;
  const contextTokens = input + answerTokens;
  if (input === 0 || contextTokens > MOST_TOKENS) return null;
  return { model, contextTokens, answerTokens, thoughtTokens: used.usage.reasoning ?? 0 };
}

/**
 * What a request reads that names these. `models`: the provider's names of those that may answer it. `null`: nobody knows, because
 * something it names is not known, was counted by another model, or is named twice.
 */
export function namedContext(
  named: readonly StoredId[],
  found: ReadonlyMap<string, OwnedId>,
  models: readonly string[],
): NamedContext | null {
  if (new Set(named.map(({ id }) => id)).size < named.length) return null;
  const sum: NamedContext = { most: 0, likely: 0 };
  /** Several items of one answer are no more than the answer. */
  const answers = new Set<string>();
  for (const { id, kind } of named) {
    const { request, context } = found.get(id)!;
    if (context === null || models.some((model) => model !== context.model)) return null;
    const { contextTokens, answerTokens, thoughtTokens } = context;
    if (kind === 'item' && answers.size === answers.add(request).size) continue;
    const most = kind === 'response' ? contextTokens : answerTokens;
    sum.most += most;
    sum.likely += most - thoughtTokens;
  }
  return sum;
}
