/** The older completions: prompts of text or tokens, each continued several times, of which not all need be shown. */
import { readTierAlone } from './asks.ts';
import { pricesText } from './chat.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { count, flag, includesUsage, modelOf, readJsonBody } from './json-body.ts';
import { readPrompts } from './prompts.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

const COST_FIELDS = costFieldsOf('completions');
const REFUSED = REQUEST_FIELDS.completions.refused;
const MOST_CHOICES = 128;
const MOST_DRAFTS = 20;
/** More prompts than anybody takes at once: OpenAI says no number. */
const MOST_PROMPTS = 2_048;
/** What OpenAI generates where the request says no limit. */
const DEFAULT_LIMIT = 16;

export const completionRequests: RequestReader = {
  read: readCompletionRequest,
  promptField: 'prompt',
  limitFields: ['max_tokens'],
  asksForUsage: true,
  isPriced: pricesText,
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readCompletionRequest(body: Buffer): MeteredRequest {
  const read = readJsonBody(body, COST_FIELDS, REFUSED);
  const { json, spans, end } = read;
  const prompts = readPrompts(read, 'prompt', MOST_PROMPTS);
  const drafts = count(json, 'best_of', 1, 0, MOST_DRAFTS);
  const perPrompt = Math.max(count(json, 'n', 1, 1, MOST_CHOICES), drafts);
  return {
    ...modelOf(json),
    stream: flag(json, 'stream'),
    includeUsage: includesUsage(json),
    bytes: body.length,
    reads: prompts.count,
    // Drafts are billed, shown or not.
    n: prompts.count * perPrompt,
    outputLimit: count(json, 'max_tokens', DEFAULT_LIMIT, 0),
    fixedOutput: null,
    mustBeWhole: false,
    parts: prompts.parts,
    hasTools: false,
    asks: readTierAlone(json),
    others: null,
    certain: null,
    // What is echoed is no output, and looks like it; drafts are not shown.
    hidesOutput: flag(json, 'echo') || drafts > 1,
    spans,
    end,
  };
}
