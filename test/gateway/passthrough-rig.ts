/** What the tests of declared routes have in common: a gateway whose catalog declares some, and calls of them. */
import { writeFileSync } from 'node:fs';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import type { Script } from '../support/scripted-upstream.ts';

export const CREDIT = 1_000_000_000n;

/** At 1,000 credits per USD, a request to the first costs a credit. */
const CATALOG = `
models:
  plain: { routes: [{ provider: scripted, model: plain }], max_output_tokens: 1000, price: { input: 1, output: 2 } }
plans:
  standard: { default: true, models: ["*"], features: [custom] }
  bare: { models: ["*"], features: [] }
passthrough:
  - { method: POST, path: /v1/custom/{id}, provider: scripted, feature: custom, price: { request: 0.001 } }
  - { method: GET, path: /v1/custom/{id}/parts/{part}, provider: scripted, price: { request: 0.000001 } }
  - { method: PUT, path: /v1/custom/{id}, provider: scripted, price: { request: 0.000000000001 } }
  - { method: PATCH, path: /v1/custom/{id}, provider: scripted, price: { request: 0.002 } }
  - { method: DELETE, path: /v1/custom/{id}, provider: scripted, price: { request: 0 } }
`;

export const json: Script = ({ response }) => {
  response.writeHead(200, { 'content-type': 'application/json', 'x-request-id': 'theirs', 'set-cookie': 'a=b' });
  response.end('{"id":"x","error":null}');
};

export interface Declared {
  world: World;
  gateway: TestGateway;
  /** With 100 credits, for one test. */
  account: TestAccount;
  /** A call with that account's key, or another; POST unless it says otherwise. */
  call(path: string, init?: RequestInit, key?: string): Promise<Response>;
  /** What reached the provider since so many requests had. */
  reached(from: number): string[];
  /** What that account was charged, in nano-credits. */
  charged(): Promise<bigint>;
  /** Makes another account, and the provider answer as it usually does. */
  next(): Promise<void>;
  close(): Promise<void>;
}

export async function declaredRoutes(): Promise<Declared> {
  const world = await createWorld();
  writeFileSync(world.env.TOLLGATE_CATALOG!, CATALOG);
  const gateway = await startGateway(world);
  const rig: Declared = {
    world,
    gateway,
    account: await createTestAccount(world, '100'),
    call: (path, init = {}, key = rig.account.key) =>
      fetch(gateway.url + path, {
        method: 'POST',
        ...init,
        headers: { authorization: `Bearer ${key}`, ...init.headers },
      }),
    reached: (from) => world.upstream.requests.slice(from).map(({ method, path }) => `${method} ${path}`),
    charged: () => chargedTo(world, rig.account.account),
    async next() {
      rig.account = await createTestAccount(world, '100');
      world.upstream.script(json);
    },
    async close() {
      await expectSettled(world);
      await gateway.close();
      await closeWorld(world);
    },
  };
  return rig;
}

/** The status and the code of a refusal. */
export async function refusal(response: Response): Promise<string> {
  return `${response.status} ${((await response.json()) as { error: { code: string } }).error.code}`;
}
