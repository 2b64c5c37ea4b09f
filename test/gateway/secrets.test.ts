/** No log line and no answer holds a key, a prompt, a query or a provider's account, whatever goes wrong. */
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_KEY,
  closeWorld,
  createTestAccount,
  createWorld,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { error, type Script, scripts } from '../support/scripted-upstream.ts';

const PROMPT = 'the-secret-prompt-4711';
const QUERY = 'the-secret-query-4712';
const LEAKY: Script = ({ response }) => {
  const message =
    'Incorrect API key provided: sk-provider-secret-0123456789, organization org-AbCdEf123456, project proj_xyz789012.';
  response.writeHead(400, { 'content-type': 'application/json', 'openai-organization': 'org-AbCdEf123456' });
  response.end(JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code: null } }));
};

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let logPath: string;
const answers: string[] = [];

async function ask(script: Script, stream: boolean, more: object = {}): Promise<void> {
  world.upstream.script(script);
  const response = await fetch(`${gateway.url}/v1/chat/completions?q=${QUERY}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}` },
    body: JSON.stringify({ model: 'plain', stream, messages: [{ role: 'user', content: PROMPT }], ...more }),
  });
  const text = await response.text().catch((cut: Error) => cut.message);
  answers.push(JSON.stringify([...response.headers]) + text);
}

beforeAll(async () => {
  world = await createWorld({ LOG_LEVEL: 'debug' });
  logPath = join(world.folder, 'gateway.log');
  gateway = await startGateway(world, openSync(logPath, 'a'));
  account = await createTestAccount(world, '100');
});
afterAll(() => closeWorld(world));

describe('planted secrets', () => {
  it('are in no log and no answer', async () => {
    for (const script of Object.values(scripts)) {
      if (script === scripts.never || script === scripts.giantFrame) continue;
      for (const stream of [false, true]) {
        const asked = ask(script, stream);
        await new Promise((resolve) => setTimeout(resolve, 20));
        world.upstream.release();
        await asked;
      }
    }
    await ask(LEAKY, false);
    await ask(error(401, 'invalid_request_error', 'invalid_api_key'), false);
    await ask(scripts.plain, false, { model: 'nope' });
    await ask(scripts.plain, false, { n: 'many' });
    answers.push(await (await post(gateway, account.key, `{"broken ${PROMPT}`)).text());
    answers.push(await (await post(gateway, `${account.key}x`, '{}')).text());
    answers.push(
      await (await fetch(`${gateway.url}/admin/v1/accounts`, { headers: { authorization: 'Bearer wrong' } })).text(),
    );
    await gateway.close();

    const log = readFileSync(logPath, 'utf8');
    expect(log.split('\n').filter((line) => line.includes('"req":"req_')).length).toBeGreaterThan(30);
    const planted = [
      PROMPT,
      QUERY,
      account.key,
      account.key.slice(20),
      ADMIN_KEY,
      'sk-provider-secret',
      'org-AbCdEf',
      'proj_xyz',
    ];
    for (const secret of planted) {
      expect(log.includes(secret), `the log holds ${secret}`).toBe(false);
      for (const answer of answers) expect(answer.includes(secret), `an answer holds ${secret}: ${answer}`).toBe(false);
    }
    const lines = log.trim().split('\n');
    for (const line of lines) expect(() => JSON.parse(line), line).not.toThrow();
  });
});
