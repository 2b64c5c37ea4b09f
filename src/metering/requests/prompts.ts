/**
 * Prompts that are text or tokens: one text, several, one list of tokens or several. Tokens are given by their numbers, so that
 * they are counted as they stand: none of their digits is text.
 */
import type { TollgateError } from '../../errors.ts';
import { invalid, type JsonBody } from './json-body.ts';
import { type MessageParts, noParts } from './message-parts.ts';

export interface Prompts {
  /** How many there are. */
  count: number;
  parts: MessageParts;
}

/** Reads the prompts in a field of the body; absent or null, there is one. Throws `invalid_request`. */
export function readPrompts({ json, spans }: JsonBody, field: string, mostPrompts: number): Prompts {
  const value = json[field] ?? null;
  const parts = noParts();
  if (value === null || typeof value === 'string') return { count: 1, parts };
  const given = Array.isArray(value) ? tokensIn(value, field) : null;
  if (given === null) throw mixed(field);
  const { tokens, count } = given;
  if (count > mostPrompts) throw invalid(field, `there may be ${mostPrompts} at most`);
  if (tokens !== null) {
    const { start, end } = spans.get(field)!;
    parts.given = tokens;
    parts.likelyTokens = tokens;
    parts.dataBytes = end - start;
  }
  return { count, parts };
}

/** How many prompts a list is, and of how many tokens; `tokens: null`: of texts. */
function tokensIn(list: readonly unknown[], field: string): { count: number; tokens: number | null } {
  if (list.length === 0) throw invalid(field, 'must not be empty');
  if (list.every((item) => typeof item === 'string')) return { count: list.length, tokens: null };
  if (list.every(isToken)) return { count: 1, tokens: list.length };
  let tokens = 0;
  for (const item of list) {
    if (!Array.isArray(item) || !item.every(isToken)) throw mixed(field);
    tokens += item.length;
  }
  return { count: list.length, tokens };
}

function isToken(item: unknown): boolean {
  return typeof item === 'number' && Number.isSafeInteger(item) && item >= 0;
}

function mixed(field: string): TollgateError {
  return invalid(field, 'must be a text, a list of texts, a list of tokens or a list of lists of tokens');
}
