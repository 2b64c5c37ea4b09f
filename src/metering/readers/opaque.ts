/** Answers that nothing is read of: those to requests that are passed through, at a price for each. */
import { isDone } from './frames.ts';
import type { Dialect, StreamReader } from './types.ts';

/** A stream may end anywhere; its usual last event is withheld all the same, until it is settled. */
const reader: StreamReader = {
  frame: (frame) => (isDone(frame) ? 'done' : 'content'),
  finished: true,
  usage: () => null,
  terms: () => ({}),
  beside: () => ({}),
  outputEstimate: () => 0,
  generatedText: () => [],
};

export const opaque: Dialect = {
  framing: 'sse',
  unmetered: true,
  bulky: true,
  // Its status says whether it failed: it may have an `error` of its own.
  readJson: () => ({ reported: null, terms: {}, beside: {}, generatedText: [], isError: false }),
  stream: () => reader,
  normalise: () => ({}),
};
