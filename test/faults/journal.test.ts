/**
 * P2 while the database is away: real gateways whose wire to it is cut. Streams that run go on to their end, and what they
 * cost is on the disk: charged exactly afterwards, by this process or another, whether it lived, was killed, was told to end
 * or was only stopped for a while.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { Journal } from '../../src/ledger/journal/journal.ts';
import { Takeover } from '../../src/ledger/journal/takeover.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  post,
  spawnGateway,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { at, hold, stream } from '../support/scripted-upstream.ts';
import { type Fate, startWireProxy, type WireProxy } from '../support/wire-proxy.ts';

const BODY = JSON.stringify({ model: 'plain', stream: true, messages: [{ role: 'user', content: 'Say hello' }] });
const EXACT = 18_000_000n;

let world: World;
let wire: WireProxy;
let account: TestAccount;
let gateways: GatewayProcess[];

beforeAll(async () => {
  world = await createWorld({}, 'ledger: { journal_bytes: 1048576 }\n');
  wire = await startWireProxy(world.database.url);
});
afterAll(async () => {
  await wire.close();
  await closeWorld(world);
});
beforeEach(async () => {
  wire.open = true;
  gateways = [];
  account = await createTestAccount(world, '100');
});
afterEach(async () => {
  for (const gateway of gateways) gateway.child.kill('SIGKILL');
  await Promise.all(gateways.map((gateway) => gateway.exited));
});

/** A gateway whose wire can be cut, or one that has its own. */
async function begin(more: Record<string, string> = { DATABASE_URL: wire.url }): Promise<GatewayProcess> {
  const gateway = await spawnGateway(world, more);
  gateways.push(gateway);
  return gateway;
}

/** Streams that were running when the wire was cut, and came to their end. */
async function serveWhileAway(gateway: GatewayProcess, count: number, fate: Fate = 'cut'): Promise<void> {
  world.upstream.script(stream({}, at(2, hold)));
  const responses = await Promise.all(Array.from({ length: count }, () => post(gateway, account.key, BODY)));
  wire.open = false;
  wire.strikeAll(fate);
  world.upstream.release();
  for (const response of responses) expect(await response.text()).toMatch(/\[DONE\]\n\n$/);
}

const recordsOf = async (gateway: GatewayProcess): Promise<number> =>
  ((await (await fetch(`${gateway.url}/readyz`)).json()) as { journal: number }).journal;
const journals = (): string[] =>
  readdirSync(join(world.folder, 'data/journal')).filter((name) => /journal$/.test(name));

async function expectCharged(streams: bigint): Promise<void> {
  await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'no hold is left');
  expect(await chargedTo(world, account.account)).toBe(EXACT * streams);
  const { rows } = await world.pool.query('SELECT DISTINCT kind FROM entries WHERE account_id = $1 ORDER BY 1', [
    account.account,
  ]);
  expect(rows.map(({ kind }) => kind)).toEqual([1, 2]);
  await expectSettled(world);
}

it('streams go on to their end; /readyz counts what waits; all is charged when the database is back', async () => {
  const gateway = await begin();
  await serveWhileAway(gateway, 3);
  expect(await recordsOf(gateway)).toBe(3);
  wire.open = true;
  await eventually(async () => (await recordsOf(gateway)) === 0, 'the records are answered');
  await expectCharged(3n);
});

it('killed with records on the disk: a gateway that runs on the same folder charges them, exactly', async () => {
  const gateway = await begin();
  const other = await begin({});
  await serveWhileAway(gateway, 2);
  gateway.child.kill('SIGKILL');
  await gateway.exited;
  await eventually(() => journals().length === 1, 'the other has replayed it');
  await expectCharged(2n);
  expect(await recordsOf(other)).toBe(0);
});

it('killed with records on the disk: the next start charges them, exactly, before it serves', async () => {
  const gateway = await begin();
  await serveWhileAway(gateway, 2);
  gateway.child.kill('SIGKILL');
  await gateway.exited;
  await begin({});
  await expectCharged(2n);
  expect(journals()).toHaveLength(1);
});

it.each<Fate>(['cut', 'freeze'])(
  'told to end while the database is away (%s): exits with 0, its records on the disk; the next start charges them',
  async (fate) => {
    const gateway = await begin();
    await serveWhileAway(gateway, 2, fate);
    gateway.child.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    expect(journals()).toEqual([expect.stringMatching(/^0-claimed-/)]);
    await begin({});
    await expectCharged(2n);
    expect(journals()).toHaveLength(1);
  },
);

it('stopped for so long that its file was claimed: goes on in another, and nothing is charged twice', async () => {
  const gateway = await begin();
  await serveWhileAway(gateway, 2);
  const [name] = journals();
  const owner = BigInt(name!.split('-')[0]!);
  gateway.child.kill('SIGSTOP');
  await claimFrom(owner);
  gateway.child.kill('SIGCONT');
  wire.open = true;
  await eventually(async () => (await recordsOf(gateway)) === 0, 'its own answers have come, too');
  await serveWhileAway(gateway, 1);
  expect(journals()).toEqual([`${owner}-1.journal`]);
  wire.open = true;
  await expectCharged(3n);
});

/** Takes over what an owner that seems dead has in its journal, as another process would. */
async function claimFrom(owner: bigint): Promise<void> {
  const connection = new WriterConnection(world.database.url, 1n, silentLogger);
  const parts = { owner: 1n, clock: systemClock, log: silentLogger };
  const journal = await Journal.open({ ...parts, dataDir: world.env.TOLLGATE_DATA_DIR!, bytes: 1_048_576 });
  const writer = new LedgerWriter({ ...parts, connection, journal });
  const takeover = new Takeover({
    ...parts,
    journal,
    gone: () => [owner],
    answers: () => true,
    replay: (operation) => writer.replay(operation),
  });
  await takeover.pass();
  await writer.close();
  await journal.close();
  await connection.close();
}
