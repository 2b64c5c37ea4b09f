/** Moderations: free at OpenAI, and nothing of them is counted in an answer. Limits of rate count them all the same. */
import type { Price } from '../../catalog/price.ts';
import { isInput, isOutput, type Unit } from '../../catalog/units.ts';
import { NOTHING } from './asks.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { invalid, modelOf, readJsonBody } from './json-body.ts';
import { countParts } from './message-parts.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

const COST_FIELDS = costFieldsOf('moderations');
const REFUSED = REQUEST_FIELDS.moderations.refused;
/** What OpenAI takes where no model is named. */
const DEFAULT_MODEL = 'omni-moderation-latest';

export const moderationRequests: RequestReader = {
  read: readModerationRequest,
  promptField: 'input',
  limitFields: [],
  asksForUsage: false,
  isPriced: isFreeOfTokens,
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readModerationRequest(body: Buffer): MeteredRequest {
  const { json, spans, end } = readJsonBody(body, COST_FIELDS, REFUSED);
  const { input } = json;
  if (typeof input !== 'string' && !Array.isArray(input)) throw invalid('input', 'must be a text or a list');
  const content = Array.isArray(input) ? input.filter((part) => typeof part !== 'string') : [];
  return {
    ...modelOf(json, DEFAULT_MODEL),
    stream: false,
    includeUsage: false,
    bytes: body.length,
    reads: 1,
    n: 0,
    outputLimit: null,
    fixedOutput: null,
    mustBeWhole: true,
    parts: countParts([{ content }]),
    hasTools: false,
    asks: NOTHING,
    others: null,
    certain: null,
    hidesOutput: false,
    spans,
    end,
  };
}

/**
 * Whether a model has a price that such a request can be charged by: for itself, or tokens that cost nothing. No answer says how
 * many tokens there were, so that a model whose tokens cost something would be given away.
 */
function isFreeOfTokens({ units, tiers }: Price): boolean {
  const priced = [units, ...tiers.map((tier) => tier.units)].flatMap((table) => Object.entries(table)) as [
    Unit,
    bigint,
  ][];
  if (priced.some(([unit, usd]) => usd > 0n && (isInput(unit) || isOutput(unit)))) return false;
  return units.request !== undefined || units.input !== undefined;
}
