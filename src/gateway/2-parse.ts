/** Step 2: the body → the few fields that bear on routing and cost. The bytes themselves stay as they came. */
import { TollgateError } from '../errors.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import { encodingOf } from '../metering/tokens/encodings.ts';
import { type Context, need } from './context.ts';
import { withModel } from './deployments.ts';
import type { Upload } from './upload.ts';

/** Tokenisers differ, and a text that is cut to be counted has a token more here and there: by 1 in so many at most. */
const DOUBT = 8;

/** What a client sent: bytes, a form, or what is wrong with one. */
export type Sent = Buffer | Upload | TollgateError;

/**
 * Fills `body` or `upload`, and `request`. `null`: it is done, and there was nothing to wait for. Throws `invalid_json` or
 * `invalid_request`, and what a form was refused with.
 */
export function parse(context: Context, sent: Sent): Promise<void> | null {
  const { requests } = context.endpoint;
  if (Buffer.isBuffer(sent)) {
    context.body = context.deployment === null ? sent : withModel(sent, context.deployment);
    context.request = requests.read(context.body);
    return null;
  }
  if (sent instanceof TollgateError) throw sent;
  context.upload = sent;
  if (requests.readForm === undefined) throw new Error('a form was read for an endpoint that takes none');
  return requests.readForm(sent, context.deployment).then((request) => {
    context.request = request;
  });
}

/** Whether the bytes leave a doubt that a prompt fits the model: a token is a byte at least. What a form says is short. */
export function mayBeTooLong(context: Context): boolean {
  if (context.body === null) return false;
  const { bytes, reads } = need(context, 'request');
  return bytes > reads * (need(context, 'model').contextWindow ?? Number.POSITIVE_INFINITY);
}

/**
 * Refuses a prompt that certainly does not fit the model. What is near the edge, or cannot be counted in time, is left to the
 * provider. Throws `context_length_exceeded`.
 */
export async function refuseTooLong(context: Context, tokens: TokenCounter): Promise<void> {
  const { contextWindow, name } = need(context, 'model');
  const { reads } = need(context, 'request');
  if (contextWindow === null) return;
  const enough = Math.ceil(reads * contextWindow * (1 + 1 / DOUBT));
  const counted = (await tokens.countPrompt(need(context, 'body'), encodingOf(name), enough))?.tokens ?? 0;
  if (counted <= enough) return;
  const { promptField } = context.endpoint.requests;
  throw new TollgateError('context_length_exceeded', {
    param: promptField,
    message: `This model's maximum context length is ${contextWindow} tokens. However, your ${promptField} resulted in about ${counted} tokens or more. Please reduce the length of the ${promptField}.`,
  });
}
