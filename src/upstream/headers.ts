/**
 * Which headers pass, both ways. Both are allow-lists: a header nobody thought of may carry a credential or a cookie
 * upstream, or the name and the limits of our account at the provider back to a client.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { UpstreamHeaders } from './types.ts';

/** From the client to the provider, unchanged. */
const REQUEST_HEADERS = ['content-type', 'accept', 'anthropic-version', 'anthropic-beta'] as const;

/** Features of `OpenAI-Beta` that bring no cost of their own; others, such as multi-agent fan-out, are not sent on. */
const BETA_FEATURE = /^(?:assistants|realtime|responses_websockets)=[\w.-]+$/;

/**
 * What goes upstream of a client's request headers. `accept-encoding` is `identity`, because usage is read from the
 * bytes as they pass, and `user-agent` is ours. Credentials are not here: the provider adds its own.
 */
export function requestHeaders(raw: IncomingHttpHeaders): Record<string, string> {
  const headers: Record<string, string> = { 'accept-encoding': 'identity', 'user-agent': 'tollgate' };
  for (const name of REQUEST_HEADERS) {
    const value = raw[name];
    if (typeof value === 'string') headers[name] = value;
  }
  const beta = raw['openai-beta'];
  if (typeof beta === 'string') {
    const features = betaFeatures(beta);
    if (features !== '') headers['openai-beta'] = features;
  }
  return headers;
}

function betaFeatures(value: string): string {
  return value
    .split(',')
    .map((feature) => feature.trim())
    .filter((feature) => BETA_FEATURE.test(feature))
    .join(', ');
}

/** From the provider to the client, unchanged. Length, framing, request id, limits and retry hints are the gateway's own. */
export const RESPONSE_HEADERS = [
  'content-type',
  'content-disposition',
  'cache-control',
  'openai-processing-ms',
  'openai-version',
  'openai-model',
] as const;

/** What goes back to the client of a provider's response headers. */
export function responseHeaders(upstream: UpstreamHeaders): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const name of RESPONSE_HEADERS) {
    const value = upstream[name];
    if (value !== undefined) headers[name] = value;
  }
  return headers;
}
