/** P2 for responses that outlive their request: a gateway that is killed between any two steps loses nothing, and charges nothing twice. */
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  spawnGateway,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, held, hold, type Script } from '../support/scripted-upstream.ts';

const EXACT = 12n * 1_000_000n + 30n * 2_000_000n;

let world: World;
let account: TestAccount;
let gateway: GatewayProcess;
let answer: Record<string, unknown>;
let number = 0;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => closeWorld(world));
beforeEach(async () => {
  account = await createTestAccount(world, '100');
  gateway = await spawnGateway(world);
  answer = {
    id: `resp_killed${++number}`,
    object: 'response',
    status: 'in_progress',
    usage: null,
    error: null,
    output: [],
  };
  world.upstream.script(provider);
});
afterEach(kill);

const provider: Script = ({ response }) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer));
};

async function kill(): Promise<void> {
  gateway.child.kill('SIGKILL');
  await gateway.exited;
}

const count = async (table: string): Promise<number> => (await world.pool.query(`SELECT FROM ${table}`)).rowCount!;

function create(more: object = {}): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'plain', input: 'Hi', max_output_tokens: 100, background: true, ...more }),
  });
}

const complete = (): void => {
  answer = { ...answer, status: 'completed', usage: responseUsage(12, 30) };
};

/** What it cost in the end, once the next gateway has seen to it. */
async function expectCharge(expected: bigint): Promise<void> {
  gateway = await spawnGateway(world);
  await eventually(
    async () => (await count('background_responses')) === 0 && (await count('holds')) === 0,
    'it is settled',
  );
  expect(await chargedTo(world, account.account)).toBe(expected);
  await expectSettled(world);
}

/** Time passes for what is waiting: gateways that died are known to be dead, and what is claimed is due again. */
const age = (): Promise<unknown> =>
  world.pool.query(
    "UPDATE background_responses SET created_at = created_at - interval '5 minutes', due_at = clock_timestamp()",
  );

it('killed once it is answered: the next gateway charges what it used', async () => {
  expect((await create()).status).toBe(200);
  await kill();
  complete();
  await age();
  await expectCharge(EXACT);
});

it('killed while it is streamed: the next gateway reads it to its end', async () => {
  world.upstream.script((exchange) =>
    (exchange.request.method === 'GET' ? provider : responsesStream({ id: String(answer.id) }, at(4, hold)))(exchange),
  );
  void create({ stream: true })
    .then((response) => response.text())
    .catch(() => {});
  const noted = 'SELECT FROM background_responses WHERE response_id IS NOT NULL';
  await eventually(async () => (await world.pool.query(noted)).rowCount === 1, 'its id is noted');
  await kill();
  complete();
  await age();
  await expectCharge(EXACT);
});

it('killed while it is being created: charged its least, as whatever died with its gateway', async () => {
  world.upstream.script(held(provider));
  void create().catch(() => {});
  await eventually(async () => (await count('holds')) === 1, 'it is held for');
  const { rows } = await world.pool.query<{ floor: bigint }>('SELECT floor FROM holds');
  await kill();
  world.upstream.release();
  world.upstream.script(provider);
  await world.pool.query("UPDATE owners SET lease_until = clock_timestamp() - interval '1 second'");
  await age();
  await expectCharge(rows[0]!.floor);
});

it('killed before it was held for: nothing is charged, and nothing held', async () => {
  const lock = new pg.Client({ connectionString: world.database.url, options: '-c search_path=tollgate' });
  await lock.connect();
  await lock.query('BEGIN');
  await lock.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account.account]);
  void create().catch(() => {});
  await eventually(async () => (await count('background_responses')) === 1, 'it is noted');
  await kill();
  await lock.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollgate-writer' AND datname = current_database()",
  );
  await lock.query('ROLLBACK');
  await lock.end();
  await world.pool.query("UPDATE owners SET lease_until = clock_timestamp() - interval '1 second'");
  await age();
  await expectCharge(0n);
});

it('killed between its charge and the end of its row: charged once', async () => {
  await create();
  const { rows } = await world.pool.query<Record<string, unknown>>('SELECT * FROM background_responses');
  complete();
  await age();
  await eventually(async () => (await count('background_responses')) === 0, 'it is settled');
  await kill();
  const { account_id, request, owner, provider: name, response_id, facts } = rows[0]!;
  await world.pool.query(
    `INSERT INTO background_responses (account_id, request, owner, provider, response_id, facts) VALUES ($1, $2, $3, $4, $5, $6)`,
    [account_id, request, owner, name, response_id, facts],
  );
  await expectCharge(EXACT);
});

it('two gateways read it at once: charged once', async () => {
  const other = await spawnGateway(world, { TOLLGATE_DATA_DIR: `${world.folder}/other` });
  await create();
  complete();
  for (let i = 0; i < 5; i++) await world.pool.query('UPDATE background_responses SET due_at = clock_timestamp()');
  await eventually(async () => (await count('background_responses')) === 0, 'it is settled');
  other.child.kill('SIGKILL');
  await other.exited;
  await kill();
  await expectCharge(EXACT);
});
