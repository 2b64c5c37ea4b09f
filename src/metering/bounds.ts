/**
 * How many tokens a request can use, and how many it likely will. Bounds are safe: every token is at least one byte of
 * the body, whose JSON syntax outweighs what providers add to each message. Images are bounded by a cap each, whatever
 * else cannot be known here by the context window.
 */
import type { Model } from '../catalog/types.ts';
import type { ChatRequest } from './chat-request.ts';

/** The dearest image of the models we know: 2048 × 768 at 2,833 + 5,667 × 8 tokens (field notes, wire.md §4.3). */
const IMAGE_TOKENS = 50_000;
/** What a model of unknown context window could read at most. */
const UNKNOWN_WINDOW = 2_000_000;
/** English and code are about four bytes a token: a likely count, never a bound. */
const BYTES_PER_TOKEN = 4;

type Limits = Pick<Model, 'maxOutputTokens' | 'contextWindow'>;

/** The most input tokens a request of that many bytes can be. */
export function inputBound(request: ChatRequest, bodyBytes: number, model: Limits): number {
  const window = model.contextWindow ?? UNKNOWN_WINDOW;
  if (request.parts.unbounded > 0) return window;
  return Math.min(bodyBytes + request.parts.images * IMAGE_TOKENS, window);
}

/** What a request of that many bytes likely is in input tokens: what is charged when nobody says how many there were. */
export function inputEstimate(request: ChatRequest, bodyBytes: number, model: Limits): number {
  const { dataBytes, likelyTokens } = request.parts;
  const likely = Math.ceil((bodyBytes - dataBytes) / BYTES_PER_TOKEN) + likelyTokens;
  return Math.min(likely, inputBound(request, bodyBytes, model));
}

/** The most output tokens of all choices together: the client's own limit, else the model's. */
export function outputBound(request: ChatRequest, model: Limits): number {
  return request.n * Math.min(request.outputLimit ?? model.maxOutputTokens, model.maxOutputTokens);
}
