/**
 * How much a request can use, and how much it likely will. A bound is safe without counting a token: every token of text is
 * at least one byte of the body, whose JSON syntax outweighs what providers add to each message. Pictures and sound are
 * bounded by rules of their own, what is not counted in tokens by how often it can be had, and whatever else cannot be known
 * here by the context window. docs/bounds.md says what of this is published, and what is our choice.
 */
import type { Price } from '../catalog/price.ts';
import type { Bounds } from '../catalog/rating.ts';
import type { Model } from '../catalog/types.ts';
import type { Usage } from '../catalog/units.ts';
import { pictureTokens } from './image-tokens.ts';
import type { AskedUnit } from './requests/asks.ts';
import type { MeteredRequest } from './requests/types.ts';

/** What a model of unknown context window could read at most. */
const UNKNOWN_WINDOW = 2_000_000;
/** English and code are about four bytes a token: a likely count, never a bound. */
const BYTES_PER_TOKEN = 4;
/** Where tools are described, some models are told how to call them: up to 346 tokens as published, and measured. */
const TOOL_PROMPT_TOKENS = 512;

type Limits = Pick<Model, 'routes' | 'maxOutputTokens' | 'contextWindow'>;

/** All that a request can use at a model, and the tier that may answer it. `counted`: its input is at most that. */
export function requestBounds(
  request: MeteredRequest,
  model: Limits & Pick<Model, 'price'>,
  counted: number | null = null,
): Bounds {
  const { asks, parts } = request;
  const byBytes = inputBound(request, model);
  return {
    input: counted === null ? byBytes : Math.min(counted, byBytes),
    output: outputBound(request, model),
    others: othersBound(request),
    serviceTier: asks.serviceTier ?? dearestTier(model.price),
    // A file may have sound in it, and so may what was said before.
    hears: parts.sounds > 0 || parts.named > 0 || parts.unbounded > 0,
    draws: asks.painter === undefined,
    speaks: request.speaks === true || asks.units.some(({ unit }) => unit === 'output_audio'),
  };
}

/** The most input tokens a request can be. */
export function inputBound(request: MeteredRequest, model: Limits): number {
  const window = request.reads * (model.contextWindow ?? UNKNOWN_WINDOW);
  const ofParts = partsBound(request, model);
  if (ofParts === null) return window;
  return Math.min(request.bytes - request.parts.dataBytes + ofParts, window);
}

/**
 * The most input tokens that are not among the text of a request: of its pictures and sounds, and of how to call its tools.
 * `null`: the context window alone bounds it, since it names what nobody has counted, or reads what a provider's tool finds.
 */
export function partsBound({ parts, named, asks, hasTools }: MeteredRequest, { routes }: Limits): number | null {
  if (parts.unbounded > 0 || asks.units.some(isReadAgain)) return null;
  const ofNamed = parts.named > 0 ? (named?.most ?? null) : 0;
  if (ofNamed === null) return null;
  const tokens = ofNamed + parts.given + parts.soundTokens + (hasTools ? TOOL_PROMPT_TOKENS : 0);
  if (parts.pictures.length === 0) return tokens;
  const models = routes.map(({ model }) => model);
  return tokens + pictureTokens(parts.pictures, models);
}

/** What a tool of the provider finds is read by the model. */
function isReadAgain({ unit, most }: AskedUnit): boolean {
  return most > 0 && unit.startsWith('tool:');
}

/** What a request likely is in input tokens: what is charged when nobody says how many there were. */
export function inputEstimate(request: MeteredRequest, model: Limits): number {
  const { dataBytes, likelyTokens } = request.parts;
  const said = Math.ceil((request.bytes - dataBytes) / BYTES_PER_TOKEN) + likelyTokens;
  const likely = said + (request.named?.likely ?? 0);
  return Math.min(likely, inputBound(request, model));
}

/** What a request likely uses, whatever its answer: its input in tokens, and what it brings of other units. */
export function likelyInput(request: MeteredRequest, model: Limits): Usage {
  const input = inputEstimate(request, model);
  const { certain } = request;
  return certain === null ? { input } : { ...certain, input: Math.max(0, input - (certain.input_audio ?? 0)) };
}

/**
 * The most output tokens of all choices together: the client's own limit, else the model's. Thoughts, sound and the rejected
 * tokens of a prediction are within it.
 */
export function outputBound(request: MeteredRequest, model: Limits): number {
  const { n, outputLimit, fixedOutput } = request;
  return n * (fixedOutput ?? Math.min(outputLimit ?? model.maxOutputTokens, model.maxOutputTokens));
}

/** The output tokens that limits of rate count before the answer is there: its bound, unless that is far above what is likely. */
export function likelyOutput(request: MeteredRequest, model: Limits): number {
  const bound = outputBound(request, model);
  return request.likelyOutput === undefined ? bound : Math.min(request.n * request.likelyOutput, bound);
}

/** Of each unit that is not counted in tokens, the most that may be used, and that was asked for. */
function othersBound({ asks: { units }, others: own }: MeteredRequest): Usage | undefined {
  let others: Usage | undefined = own === null ? undefined : { ...own };
  for (const { unit, most } of units) {
    if (most === 0) continue;
    others ??= {};
    others[unit] = (others[unit] ?? 0) + most;
  }
  return others;
}

/** Whichever tier a provider's account is set to may answer a request that names none: the dearest that has a price. */
function dearestTier({ serviceTiers }: Price): string | undefined {
  let dearest: string | undefined;
  for (const tier in serviceTiers) {
    if (dearest === undefined || serviceTiers[tier]! > serviceTiers[dearest]!) dearest = tier;
  }
  return dearest;
}
