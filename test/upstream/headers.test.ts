import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, test } from 'vitest';
import { requestHeaders, responseHeaders } from '../../src/upstream/headers.ts';

const OURS = { 'accept-encoding': 'identity', 'user-agent': 'tollgate' };

describe('what goes upstream', () => {
  const passed: [string, string][] = [
    ['content-type', 'application/json; charset=utf-8'],
    ['accept', 'text/event-stream'],
    ['openai-beta', 'assistants=v2'],
    ['anthropic-version', '2023-06-01'],
    ['anthropic-beta', 'prompt-caching-2024-07-31'],
  ];
  test.each(passed)('%s passes unchanged', (name, value) => {
    expect(requestHeaders({ [name]: value })).toEqual({ ...OURS, [name]: value });
  });

  const stripped = [
    ...['authorization', 'api-key', 'x-api-key', 'x-goog-api-key', 'cookie', 'proxy-authorization'],
    ...['openai-organization', 'openai-project', 'tollgate-account', 'idempotency-key', 'x-client-request-id'],
    ...['x-stainless-lang', 'x-stainless-retry-count', 'traceparent', 'baggage', 'referer', 'origin'],
    ...['x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'forwarded', 'via', 'cf-connecting-ip'],
    ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
    ...['http2-settings', 'expect', 'host', 'content-length', 'content-encoding', 'x-unheard-of'],
  ];
  test.each(stripped)('%s is stripped', (name) => {
    expect(requestHeaders({ [name]: 'a value' })).toEqual(OURS);
  });

  test('answers are asked for uncompressed, in our own name', () => {
    const raw = { 'accept-encoding': 'br, gzip', 'user-agent': 'OpenAI/JS 7.57.0' };
    expect(requestHeaders(raw)).toEqual(OURS);
  });

  test('beta features that may fan out into more cost are left out of OpenAI-Beta', () => {
    const beta = (value: string) => requestHeaders({ 'openai-beta': value })['openai-beta'];
    expect(beta('assistants=v2, responses_multi_agent=v1,realtime=v1')).toBe('assistants=v2, realtime=v1');
    expect(beta('responses_multi_agent=v1')).toBeUndefined();
  });

  test('a header that merely exists on Object.prototype is not sent', () => {
    const raw: IncomingHttpHeaders = JSON.parse('{"__proto__":"x","constructor":"y","accept":"*/*"}');
    expect(requestHeaders(raw)).toEqual({ ...OURS, accept: '*/*' });
  });
});

describe('what goes back to the client', () => {
  const passed: [string, string][] = [
    ['content-type', 'text/event-stream; charset=utf-8'],
    ['cache-control', 'no-cache'],
    ['openai-processing-ms', '120'],
    ['openai-version', '2020-10-01'],
    ['openai-model', 'gpt-4o-mini-2024-07-18'],
  ];
  test.each(passed)('%s passes unchanged', (name, value) => {
    expect(responseHeaders({ [name]: value })).toEqual({ [name]: value });
  });

  const stripped = [
    ...[
      'openai-organization',
      'openai-project',
      'anthropic-organization-id',
      'set-cookie',
      'x-request-id',
      'request-id',
    ],
    ...['x-ratelimit-limit-requests', 'x-ratelimit-remaining-tokens', 'x-ratelimit-reset-tokens_usage_based'],
    ...['anthropic-ratelimit-tokens-remaining', 'retry-after', 'retry-after-ms', 'x-should-retry'],
    ...[
      'cf-ray',
      'cf-cache-status',
      'server',
      'alt-svc',
      'strict-transport-security',
      'x-ms-region',
      'apim-request-id',
    ],
    ...[
      'connection',
      'keep-alive',
      'proxy-authenticate',
      'trailer',
      'transfer-encoding',
      'upgrade',
      'x-named-by-connection',
    ],
    ...['content-length', 'content-encoding', 'location', 'date', 'x-envoy-upstream-service-time', 'x-unheard-of'],
  ];
  test.each(stripped)('%s is stripped', (name) => {
    expect(responseHeaders({ [name]: 'a value' })).toEqual({});
  });
});
