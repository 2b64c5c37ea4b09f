/** Chat completions, and what all that generates text has in common. */
import type { Price } from '../../catalog/price.ts';
import { isInput } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { readAsks } from './asks.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { count, flag, includesUsage, invalid, modelOf, readJsonBody } from './json-body.ts';
import { countParts } from './message-parts.ts';
import { refuseStored, storedIdsIn } from './stored-ids.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

const COST_FIELDS = costFieldsOf('chat');
const REFUSED = REQUEST_FIELDS.chat.refused;
const MOST_CHOICES = 128;

export const chatRequests: RequestReader = {
  read: readChatRequest,
  promptField: 'messages',
  limitFields: ['max_tokens', 'max_completion_tokens'],
  asksForUsage: true,
  isPriced: pricesText,
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readChatRequest(body: Buffer): MeteredRequest {
  const { json, spans, end } = readJsonBody(body, COST_FIELDS, REFUSED);
  const { model, namesModel } = modelOf(json);
  if (!Array.isArray(json.messages) || json.messages.length === 0) {
    throw invalid('messages', 'must be an array with at least one message');
  }
  const storedIds = storedIdsIn(json.messages);
  refuseStored(json.extra_body, 'extra_body');
  const n = count(json, 'n', 1, 1, MOST_CHOICES);
  const parts = countParts(json.messages);
  // Other providers' fields, which may ask them to read more.
  if ((json.extra_body ?? null) !== null) parts.unbounded++;
  const stream = flag(json, 'stream');
  const includeUsage = includesUsage(json);
  const asks = readAsks(json, parts, n);
  // What the client runs names nothing of the provider's.
  if (asks.units.length > 0) refuseStored(json.tools, 'tools');
  return {
    model,
    namesModel,
    stream,
    includeUsage,
    bytes: body.length,
    reads: 1,
    n,
    outputLimit: largerLimit(json),
    fixedOutput: null,
    mustBeWhole: isStructured(json.response_format),
    parts,
    storedIds,
    hasTools: [json.tools, json.functions].some((tools) => Array.isArray(tools) && tools.length > 0),
    asks,
    others: null,
    certain: null,
    hidesOutput: (json.prediction ?? null) !== null || asks.units.some(({ unit }) => !isInput(unit)),
    spans,
    end,
  };
}

/** The larger, where both are given: no provider says which of them it takes. */
function largerLimit(json: Json): number | null {
  const limits = [count(json, 'max_tokens', null), count(json, 'max_completion_tokens', null)];
  const given = limits.filter((limit) => limit !== null);
  return given.length === 0 ? null : Math.max(...given);
}

/** Structured output must not be cut: a clamp would make it invalid. */
export function isStructured(format: unknown): boolean {
  return isObject(format) && format.type !== undefined && format.type !== 'text';
}

/**
 * Whether text going in and coming out has a price: either each has one, or the request as a whole and tokens none. A
 * model with only one side priced would give the other away.
 */
export function pricesText({ units }: Price): boolean {
  const sides = [units.input, units.output].filter((side) => side !== undefined).length;
  return sides === 2 || (sides === 0 && units.request !== undefined);
}
