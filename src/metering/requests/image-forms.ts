/** Edits and variations of pictures that are sent as files of a form: their sizes are read from their first bytes. */
import { TollgateError } from '../../errors.ts';
import { HEADER_BYTES, imageSize } from '../../lib/image-size.ts';
import type { Json } from '../../lib/json.ts';
import { type FormFields, type FormShape, formCount, formFlag, readFields } from './form.ts';
import { type ImageEndpoint, imageEditRequests, imageReader, imageRequest } from './images.ts';
import { invalid } from './json-body.ts';
import { type MessageParts, noParts } from './message-parts.ts';
import type { Form, MeteredRequest, RequestReader } from './types.ts';

/** A picture that is sent is likely so many tokens: as recorded of a square one, read without fidelity. */
const LIKELY_SENT_TOKENS = 323;
const NUMBERS = ['n', 'partial_images'];

interface ImageShape extends FormShape {
  endpoint: ImageEndpoint;
  needsPrompt: boolean;
}

const EDITS: ImageShape = { endpoint: 'image_edits', files: { image: 16, mask: 1 }, lists: [], needsPrompt: true };
const VARIATIONS: ImageShape = { endpoint: 'image_variations', files: { image: 1 }, lists: [], needsPrompt: false };

/** `POST /v1/images/edits`, whose pictures may come in JSON as well. */
export const imageEditFormRequests: RequestReader = {
  ...imageEditRequests,
  readForm: (form, deployment) => readPictures(form, EDITS, deployment),
};

/** `POST /v1/images/variations`. */
export const imageVariationRequests: RequestReader = {
  ...imageReader('image_variations', refuseJson),
  readForm: (form, deployment) => readPictures(form, VARIATIONS, deployment),
};

function refuseJson(): never {
  throw new TollgateError('invalid_request', {
    param: 'image',
    message: 'Send this request as multipart/form-data, with the picture as its field "image".',
  });
}

async function readPictures(form: Form, shape: ImageShape, deployment: string | null): Promise<MeteredRequest> {
  const read = readFields(form, shape);
  if (!read.files.has('image')) throw invalid('image', 'must be a file');
  const json = typed(read.fields);
  // Those of a form are its files; here they would name what is stored at the provider, of whomever.
  if ('images' in json) throw invalid('images', 'in a form, pictures are sent as files named image');
  if (shape.needsPrompt && typeof json.prompt !== 'string') throw invalid('prompt', 'must be a text');
  if (deployment !== null) json.model = deployment;
  const { spans, inputBytes } = read;
  return imageRequest(shape.endpoint, { json, spans, end: null, bytes: inputBytes, parts: await partsOf(form, read) });
}

/** The fields as JSON has them; one that is left empty is as if it were absent, but for the prompt. */
function typed(fields: Json): Json {
  const json: Json = {};
  for (const [field, text] of Object.entries(fields)) if (text !== '' || field === 'prompt') json[field] = text;
  for (const field of NUMBERS) if (field in json) json[field] = formCount(fields, field);
  if ('stream' in json) json.stream = formFlag(fields, 'stream');
  return json;
}

async function partsOf(form: Form, { files }: FormFields): Promise<MessageParts> {
  const parts = noParts();
  for (const { start, end } of [...files.values()].flat()) {
    const size = imageSize(await form.read(start, Math.min(end, start + HEADER_BYTES)));
    parts.pictures.push({ size, low: false });
    parts.likelyTokens += LIKELY_SENT_TOKENS;
  }
  return parts;
}
