/** Requests of the Responses API: an answer, the summing up of a context, the count of what would be read. */
import { isObject, type Json } from '../../lib/json.ts';
import { type Asks, readTier } from './asks.ts';
import { isStructured, pricesText } from './chat.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { count, flag, invalid, modelOf, readJsonBody } from './json-body.ts';
import { countItems } from './response-items.ts';
import { readResponseTools } from './response-tools.ts';
import { storedIdsOf } from './stored-ids.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

const COST_FIELDS = costFieldsOf('responses');
const REFUSED = REQUEST_FIELDS.responses.refused;
/** Fields that name what a provider has stored, to be read with the input. */
const STORED = ['prompt', 'conversation'];
/**
 * How many context windows are held for where the provider runs tools: the model reads its context again after each call. What it has
 * read before it reads from the provider's cache, at a tenth of the price, so that these are the price of 30 calls that fill
 * the window.
 */
const MOST_READS = 4;

/** Tokens of the pictures that a model looks at to draw one. */
const MOST_LOOKED_AT = 16_384;

export const responsesRequests: RequestReader = {
  read: readResponsesRequest,
  promptField: 'input',
  limitFields: ['max_output_tokens'],
  asksForUsage: false,
  isPriced: pricesText,
};

/** `POST /responses/compact`: billed as an answer is, and nothing limits its output. */
export const compactRequests: RequestReader = {
  ...responsesRequests,
  read: (body) => ({ ...readResponsesRequest(body), mustBeWhole: true, background: false, readsUncounted: true }),
  limitFields: [],
};

/** `POST /responses/input_tokens`: nothing is generated, and no tool is run. */
export const inputTokensRequests: RequestReader = {
  ...responsesRequests,
  read: (body) => {
    const read = readResponsesRequest(body);
    return {
      ...read,
      background: false,
      n: 0,
      reads: 1,
      asks: { units: [], serviceTier: null },
      others: null,
      hidesOutput: false,
    };
  },
  limitFields: [],
  isPriced: () => true,
  isFree: true,
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readResponsesRequest(body: Buffer): MeteredRequest {
  const { json, spans, end } = readJsonBody(body, COST_FIELDS, REFUSED);
  const { model, namesModel } = modelOf(json);
  const background = flag(json, 'background');
  const mostCalls = count(json, 'max_tool_calls', null, 0);
  const { parts, asks, pictures, isHosted, hasTools, compacts } = readInput(json, mostCalls);
  const storedIds = storedIdsOf(json);
  return {
    model,
    namesModel,
    storedIds,
    readsUncounted: isHosted || compacts || parts.pictures.length > 0 || isShortened(json),
    recalls: isObject(json.reasoning) && (json.reasoning.context ?? null) !== null,
    background,
    stream: flag(json, 'stream'),
    // Usage is part of the last event.
    includeUsage: true,
    bytes: body.length,
    reads: (isHosted ? Math.min(1 + (mostCalls ?? MOST_READS), MOST_READS) : 1) + (compacts ? 1 : 0),
    n: 1,
    outputLimit: count(json, 'max_output_tokens', null),
    fixedOutput: null,
    mustBeWhole: isObject(json.text) && isStructured(json.text.format),
    parts,
    hasTools,
    asks,
    others: pictures === 0 ? null : { image: pictures, input_image: pictures * MOST_LOOKED_AT },
    certain: null,
    hidesOutput: isHosted || (json.reasoning ?? null) !== null,
    spans,
    end,
  };
}

/** Whether the provider may read less than there is, and more of it another time. */
function isShortened({ truncation = null, image = null }: Json): boolean {
  return (truncation !== null && truncation !== 'disabled') || image !== null;
}

interface Input {
  parts: MeteredRequest['parts'];
  asks: Asks;
  /** Drawn by a tool, at most. */
  pictures: number;
  /** Whether the provider runs tools. */
  isHosted: boolean;
  hasTools: boolean;
  compacts: boolean;
}

function readInput(json: Json, mostCalls: number | null): Input {
  const { input = null, instructions = null, tools = null } = json;
  if (input !== null && typeof input !== 'string' && !Array.isArray(input)) {
    throw invalid('input', 'must be a string or an array of items');
  }
  const { parts, tools: brought, compacts: triggered } = countItems(input);
  if (instructions !== null && typeof instructions !== 'string') parts.unbounded++;
  const lists = [...(tools === null ? [] : [tools]), ...brought];
  const { units, areHosted: isHosted, painter, pictures } = readResponseTools(lists, mostCalls);
  // Summed up where it grows too long, whenever that is.
  const compacts = triggered || (json.context_management ?? null) !== null;
  const unbounded = [isHosted, compacts, ...STORED.map((field) => (json[field] ?? null) !== null)];
  parts.unbounded += unbounded.filter(Boolean).length;
  if ((json.previous_response_id ?? null) !== null) parts.named++;
  if (parts.sounds > 0) units.unshift({ unit: 'input_audio', param: 'input', most: 0 });
  const serviceTier = readTier(json.service_tier ?? null);
  const asks = { units, serviceTier, ...(painter === null ? {} : { painter }) };
  return { parts, asks, pictures, isHosted, hasTools: lists.length > 0, compacts };
}
