/** Requests that nothing is read of: they are passed through as they came, at a price for each. */
import { NOTHING } from './asks.ts';
import { noParts } from './message-parts.ts';
import type { MeteredRequest, RequestReader } from './types.ts';

/** Reads the requests of the pass-through route of that name, which stands where others name a model. */
export function opaqueRequests(name: string): RequestReader {
  const request: MeteredRequest = {
    model: name,
    namesModel: true,
    stream: false,
    includeUsage: false,
    bytes: 0,
    reads: 0,
    n: 0,
    outputLimit: null,
    fixedOutput: null,
    mustBeWhole: true,
    parts: noParts(),
    hasTools: false,
    asks: NOTHING,
    others: null,
    certain: null,
    hidesOutput: false,
    spans: new Map(),
    end: null,
  };
  return {
    read: () => request,
    promptField: 'body',
    limitFields: [],
    asksForUsage: false,
    isPriced: ({ units }) => units.request !== undefined,
  };
}
