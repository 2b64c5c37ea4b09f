/** Which encoding a model counts in. */
import type { TiktokenEncoding } from 'tiktoken';

/** Models older than the o200k encoding. */
const CL100K = /^(gpt-4$|gpt-4-|gpt-3\.5|gpt-35|text-embedding-3|text-embedding-ada)/;
/** Models whose encoding is published. */
const PUBLISHED = /^(gpt-(3\.5|35|4|5|oss)|chatgpt-|o[134](-|$)|text-embedding-(3|ada))/;

/** The encoding to count with; a model that is not known is counted as a current one. */
export function encodingOf(model: string): TiktokenEncoding {
  return CL100K.test(bareName(model)) ? 'cl100k_base' : 'o200k_base';
}

/** The encoding that a model is known to have, by the name that its provider knows it by; `null`: nobody says. */
export function publishedEncodingOf(model: string): TiktokenEncoding | null {
  return PUBLISHED.test(bareName(model)) ? encodingOf(model) : null;
}

/** Without who offers it: `openai/gpt-4o`. */
function bareName(model: string): string {
  return model.slice(model.lastIndexOf('/') + 1);
}
