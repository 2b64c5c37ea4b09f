/** Step 2: the body → the few fields that bear on routing and cost. The bytes themselves stay as they came. */
import { TollgateError } from '../errors.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import { encodingOf } from '../metering/tokens/encodings.ts';
import { type Context, need } from './context.ts';
import { withModel } from './deployments.ts';

/** Tokenisers differ, and a text that is cut to be counted has a token more here and there: by 1 in so many at most. */
const DOUBT = 8;

/** Fills `body` and `request`. Throws `invalid_json` or `invalid_request`. */
export function parse(context: Context, body: Buffer): void {
  context.body = context.deployment === null ? body : withModel(body, context.deployment);
  context.request = context.endpoint.requests.read(context.body);
}

/** Whether the bytes leave a doubt that a prompt fits the model: a token is a byte at least. */
export function mayBeTooLong(context: Context): boolean {
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
