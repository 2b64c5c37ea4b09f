/**
 * Pictures that are made or edited. They are billed by the picture, at a price by size and quality, or by tokens: of the text, of
 * the pictures that are sent, and of those that come. A picture's tokens follow from its size and quality.
 */
import type { Price, Terms } from '../../catalog/price.ts';
import type { Model } from '../../catalog/types.ts';
import type { Usage } from '../../catalog/units.ts';
import { imageSizeOfDataUrl } from '../../lib/image-size.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { inputEstimate } from '../bounds.ts';
import { NOTHING } from './asks.ts';
import { costFieldsOf, REQUEST_FIELDS, type RequestEndpoint } from './field-uses.ts';
import { count, flag, invalid, type JsonBody, modelOf, readJsonBody } from './json-body.ts';
import { isMisread, type MessageParts, noParts } from './message-parts.ts';
import { likelyPictureTokens, mostPictureTokens } from './picture-tokens.ts';
import type { MeteredRequest, RequestReader, Unreported } from './types.ts';

const GENERATION_FIELDS = costFieldsOf('images');
const EDIT_FIELDS = costFieldsOf('image_edits');
const MOST_PICTURES = 10;
const MOST_PARTIAL = 3;
const MOST_SENT = 16;
const MOST_WORD_CHARS = 40;
/** A picture that is sent is likely so many tokens: as recorded of a square one, read without fidelity. */
const LIKELY_SENT_TOKENS = 323;

/** Where pictures are asked for. */
export type ImageEndpoint = Extract<RequestEndpoint, 'images' | 'image_edits' | 'image_variations'>;

/** What OpenAI takes where no model is named; for what only its newer models can do, one of those. */
const DEFAULT_MODELS: Readonly<Record<ImageEndpoint, string>> = {
  images: 'dall-e-2',
  image_edits: 'gpt-image-1.5',
  image_variations: 'dall-e-2',
};
const NEWER_MODEL = 'gpt-image-1.5';
const OF_NEWER_MODELS = ['background', 'moderation', 'output_format', 'output_compression', 'partial_images', 'stream'];

export const imageRequests: RequestReader = imageReader('images', readImageRequest);
export const imageEditRequests: RequestReader = imageReader('image_edits', readImageEditRequest);

/** The reader of an endpoint of pictures whose requests are read like this. */
export function imageReader(endpoint: ImageEndpoint, read: (body: Buffer) => MeteredRequest): RequestReader {
  return {
    read,
    promptField: endpoint === 'image_variations' ? 'image' : 'prompt',
    limitFields: [],
    asksForUsage: false,
    isPriced: pricesPictures,
    usedUnreported: usedByPictures,
  };
}

/** Reads and checks the body of a generation. Throws `invalid_json` or `invalid_request` with `param`. */
export function readImageRequest(body: Buffer): MeteredRequest {
  const read = readJsonBody(body, GENERATION_FIELDS, REQUEST_FIELDS.images.refused);
  if (typeof read.json.prompt !== 'string') throw invalid('prompt', 'must be a text');
  return imageRequest('images', { ...read, bytes: body.length, parts: noParts() });
}

/** Reads and checks the body of an edit whose pictures are in JSON. Throws `invalid_json` or `invalid_request` with `param`. */
export function readImageEditRequest(body: Buffer): MeteredRequest {
  const read = readJsonBody(body, EDIT_FIELDS, REQUEST_FIELDS.image_edits.refused);
  const { prompt, images, image, mask } = read.json;
  if (typeof prompt !== 'string') throw invalid('prompt', 'must be a text');
  if ((image ?? null) !== null) throw invalid('image', 'in JSON, pictures are given as images');
  if (!Array.isArray(images) || images.length === 0 || images.length > MOST_SENT) {
    throw invalid('images', `must be a list of 1 to ${MOST_SENT} pictures`);
  }
  const parts = noParts();
  for (const [i, picture] of images.entries()) countSent(picture, `images[${i}]`, parts);
  if ((mask ?? null) !== null) countSent(mask, 'mask', parts);
  return imageRequest('image_edits', { ...read, bytes: body.length, parts });
}

/** A picture by its address or in the body. One that is stored at the provider is nobody's that we know. */
function countSent(picture: unknown, param: string, parts: MessageParts): void {
  if (!isObject(picture) || isMisread(picture)) throw invalid(param, 'must be an object that has an image_url');
  if ((picture.file_id ?? null) !== null) {
    throw invalid(`${param}.file_id`, 'this gateway does not know whose file it is; send the picture itself');
  }
  const { image_url: url } = picture;
  if (typeof url !== 'string') throw invalid(`${param}.image_url`, 'must be the address of a picture, or a data URL');
  const isData = url.startsWith('data:');
  parts.pictures.push({ size: isData ? imageSizeOfDataUrl(url) : null, low: false });
  if (isData) parts.dataBytes += url.length;
  parts.likelyTokens += LIKELY_SENT_TOKENS;
}

/** The fields of a request for pictures, whatever form they came in. */
export interface ImageFields extends Pick<JsonBody, 'json' | 'spans'> {
  end: number | null;
  /** Bytes that bound the text, and what is among them that is none. */
  bytes: number;
  /** The pictures that are sent. */
  parts: MessageParts;
}

/**
 * What the fields of a request ask for: those of a form as JSON has them, numbers and flags as such. Throws `invalid_request`
 * with `param`.
 */
export function imageRequest(endpoint: ImageEndpoint, { json, spans, end, bytes, parts }: ImageFields): MeteredRequest {
  const pictures = count(json, 'n', 1, 1, MOST_PICTURES);
  const partial = count(json, 'partial_images', 0, 0, MOST_PARTIAL);
  const [size, quality] = [wordOf(json, 'size'), wordOf(json, 'quality')];
  return {
    ...modelOf(json, defaultModel(endpoint, json)),
    stream: flag(json, 'stream'),
    includeUsage: false,
    bytes,
    reads: 1,
    n: pictures,
    outputLimit: null,
    fixedOutput: mostPictureTokens(size, quality, partial),
    mustBeWhole: true,
    parts,
    hasTools: false,
    asks: NOTHING,
    others: { image: pictures },
    certain: null,
    terms: termsOf(size, quality),
    hidesOutput: true,
    spans,
    end,
    likelyOutput: likelyPictureTokens(size, quality),
  };
}

function wordOf(json: Json, field: string): string | null {
  const value = json[field] ?? null;
  if (value === null || (typeof value === 'string' && value.length <= MOST_WORD_CHARS)) return value;
  throw invalid(field, 'must be a short text');
}

function defaultModel(endpoint: ImageEndpoint, json: Json): string {
  const needsNewer = endpoint === 'images' && OF_NEWER_MODELS.some((field) => (json[field] ?? false) !== false);
  return needsNewer ? NEWER_MODEL : DEFAULT_MODELS[endpoint];
}

/**
 * What the price of a picture goes by where the answer does not say: older models do not, and take what OpenAI says they do
 * where nothing is asked for. What is left to the model is the dearest there is a price for.
 */
function termsOf(size: string | null, quality: string | null): Terms {
  const terms: Terms = {};
  if (size !== 'auto') terms.imageSize = size ?? '1024x1024';
  if (quality !== 'auto') terms.imageQuality = quality ?? 'standard';
  return terms;
}

/** Whether pictures have a price each, or text and pictures have one in tokens; or the request, and none of those. */
function pricesPictures({ units, images }: Price): boolean {
  if (images !== null || units.image !== undefined) return true;
  const sides = [units.input, units.output_image ?? units.output].filter((side) => side !== undefined).length;
  return sides === 2 || (sides === 0 && units.request !== undefined);
}

/**
 * Pictures that the answer shows are the bill where each has a price; tokens are estimated by them. Who leaves a stream leaves
 * pictures that are made all the same; a provider that breaks off has made those that it sent.
 */
function usedByPictures(
  request: MeteredRequest,
  model: Model,
  { beside, ended }: Unreported,
): { usage: Usage; exact: boolean } {
  const { units, images } = model.price;
  const shown = beside.image ?? 0;
  const made =
    ended === 'broken' || (ended === 'whole' && beside.image !== undefined) ? shown : Math.max(request.n, shown);
  const usage: Usage = {};
  const perPicture = images !== null || units.image !== undefined;
  // Those that the answer shows are counted with it.
  if (perPicture && made > shown) usage.image = made - shown;
  const byTokens = (units.output_image ?? units.output) !== undefined;
  if (byTokens) {
    usage.input = inputEstimate(request, model);
    usage.output_image = made * (request.likelyOutput ?? 0);
  }
  return { usage, exact: !byTokens && made === shown && ended === 'whole' };
}
