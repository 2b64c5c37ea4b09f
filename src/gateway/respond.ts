/** How answers leave: our errors in OpenAI's form, whole bodies with their charge, and the one line in the log. */
import type { ServerResponse } from 'node:http';
import { TollgateError } from '../errors.ts';
import type { Result } from '../ledger/outcomes.ts';
import { formatCredits } from '../lib/money.ts';
import type { Context } from './context.ts';

/** Sends an error, unless something was sent before: then the connection is cut, so that nothing looks whole. */
export function sendError(response: ServerResponse, publicId: string, error: TollgateError): void {
  if (response.destroyed) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  sendBody(response, error.status, Buffer.from(JSON.stringify(error.body())), {
    'content-type': 'application/json',
    'x-request-id': publicId,
    ...error.headers(),
  });
}

/** Sends a whole body with its length. */
export function sendBody(
  response: ServerResponse,
  status: number,
  body: Buffer,
  headers: Record<string, string | string[]>,
): void {
  if (response.destroyed) return;
  response.writeHead(status, { ...headers, 'content-length': body.length });
  response.end(body);
}

/** What a JSON answer says of its own cost. `result` is null when the ledger has not confirmed the charge yet. */
export function chargeHeaders(context: Context, result: Result | null): Record<string, string> {
  const headers: Record<string, string> = { 'x-request-id': context.publicId };
  if (context.charged !== null) headers['x-tollgate-charged'] = formatCredits(context.charged);
  if (result !== null) headers['x-tollgate-available'] = formatCredits(result.available);
  if (context.clampedTo !== null) headers['x-tollgate-clamped'] = String(context.clampedTo);
  return headers;
}

/** Any thrown thing as an error that may be shown. */
export function toTollgateError(error: unknown): TollgateError {
  return error instanceof TollgateError ? error : new TollgateError('internal_error', { cause: error });
}
