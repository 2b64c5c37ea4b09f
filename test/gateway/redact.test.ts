/** What a provider says of its account with us never reads as the state of the client's own. */
import { expect, it } from 'vitest';
import { redactedBody } from '../../src/gateway/redact.ts';

const redacted = (text: string): string => redactedBody(Buffer.from(text)).toString();

it.each([
  ['insufficient_quota', 'insufficient_quota'],
  ['insufficient_quota', 'credit_balance_exhausted'],
  ['tokens', 'rate_limit_exceeded'],
  ['requests', 'rate_limit_exceeded'],
  ['invalid_request_error', 'billing_hard_limit_reached'],
  ['invalid_request_error', 'project_spend_limit_exceeded'],
])('an error of type %s and code %s is one of the provider’s', (type, code) => {
  const error = { message: 'You exceeded "your" quota: see to your plan.', type, param: null, code };
  const told = JSON.parse(redacted(JSON.stringify({ error }, null, 2))) as { error: typeof error };
  expect(told.error.code).toBe('upstream_rate_limited');
  expect(['api_error', 'invalid_request_error']).toContain(told.error.type);
  expect(told.error.message).toContain('provider');
  expect(told.error.param).toBeNull();
});

it('a response that failed keeps what it has, but for that error', () => {
  const output = [
    { type: 'message', content: [{ type: 'output_text', text: 'It says \\"rate_limit_exceeded\\" here.' }] },
  ];
  const error = {
    code: 'rate_limit_exceeded',
    message: 'Request too large in organization org-AbCdEf123456: Limit 1.',
  };
  const event = { type: 'response.failed', response: { id: 'resp_1', status: 'failed', output, error, usage: null } };
  const told = redacted(`event: response.failed\ndata: ${JSON.stringify(event)}\n\n`);
  expect(told.startsWith('event: response.failed\ndata: {')).toBe(true);
  expect(told.endsWith('}\n\n')).toBe(true);
  const { response } = JSON.parse(told.split('data: ')[1]!) as typeof event;
  expect(response).toMatchObject({ id: 'resp_1', status: 'failed', output, error: { code: 'upstream_rate_limited' } });
  expect(told).not.toContain('Limit 1');
});

it.each([
  '{"error":{"message":"Too long.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}',
  '{"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}',
])('an error of the client’s request, or of the provider’s machines, stays as it came: %s', (body) => {
  const bytes = Buffer.from(body);
  expect(redactedBody(bytes)).toBe(bytes);
});

it('a message of a megabyte is let be, and takes no stack', () => {
  const error = { message: 'x'.repeat(1024 * 1024), code: 'insufficient_quota' };
  expect(redacted(JSON.stringify({ error }))).toContain('"code":"upstream_rate_limited"');
});
