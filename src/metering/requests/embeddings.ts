/** Embeddings: texts or tokens go in, and nothing is generated. */
import type { Price } from '../../catalog/price.ts';
import { inputEstimate } from '../bounds.ts';
import { NOTHING } from './asks.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { invalid, modelOf, readJsonBody } from './json-body.ts';
import { readPrompts } from './prompts.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

const COST_FIELDS = costFieldsOf('embeddings');
const REFUSED = REQUEST_FIELDS.embeddings.refused;
const MOST_INPUTS = 2_048;

export const embeddingRequests: RequestReader = {
  read: readEmbeddingRequest,
  promptField: 'input',
  limitFields: [],
  asksForUsage: false,
  isPriced: pricesInput,
  // Its answer is numbers: they tell nothing of what went in.
  usedUnreported: (request, model) => ({ usage: { input: inputEstimate(request, model) }, exact: false }),
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readEmbeddingRequest(body: Buffer): MeteredRequest {
  const read = readJsonBody(body, COST_FIELDS, REFUSED);
  const { json, spans, end } = read;
  if ((json.input ?? null) === null) throw invalid('input', 'must be given');
  const inputs = readPrompts(read, 'input', MOST_INPUTS);
  return {
    ...modelOf(json),
    stream: false,
    includeUsage: false,
    bytes: body.length,
    reads: inputs.count,
    n: 0,
    outputLimit: null,
    fixedOutput: null,
    mustBeWhole: true,
    parts: inputs.parts,
    hasTools: false,
    asks: NOTHING,
    others: null,
    certain: null,
    hidesOutput: false,
    spans,
    end,
  };
}

/** Whether text going in has a price, or the request as a whole. */
export function pricesInput({ units }: Price): boolean {
  return units.input !== undefined || units.request !== undefined;
}
