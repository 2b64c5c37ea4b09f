/** Two real gateways, each a process with a folder of its own, over one Postgres that can be made to fail. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createPool } from '../../src/db/pool.ts';
import { silentLogger } from '../../src/observe/log.ts';
import {
  ADMIN_KEY,
  CATALOG,
  expectSettled,
  type GatewayProcess,
  spawnGateway,
  type World,
} from '../support/gateway.ts';
import { type PostgresServer, startPostgresServer } from '../support/postgres-server.ts';
import { startScriptedUpstream } from '../support/scripted-upstream.ts';
import { Load, type Slot } from './faults-load.ts';

/** A lease, its sweep, and the time after an outage in which nobody is swept. */
const ALL_ENDED_MS = 60_000;
const POLL_MS = 20;

export interface FaultRig {
  server: PostgresServer;
  world: World;
  load: Load;
  /** Starts a gateway; `more`: of its environment. Resolves once it listens. */
  start(slot: Slot, more?: Record<string, string>): Promise<void>;
  /** kill -9. */
  kill(slot: Slot): Promise<void>;
  /** SIGTERM; resolves with the exit status. */
  stop(slot: Slot): Promise<number | string>;
  /** Waits until every gateway that runs now serves again; how many milliseconds the last of them took. */
  allServe(): Promise<number>;
  /** How many milliseconds it took until no hold was left that was opened before now, but those of streams that still run. */
  holdsEnded(): Promise<number>;
  /** What is wrong with what was charged, once the load is paused. */
  faults(): Promise<string[]>;
  close(): Promise<void>;
}

export async function openFaultRig(): Promise<FaultRig> {
  const server = await startPostgresServer();
  const world = await worldOn(server);
  const gateways = new Map<Slot, GatewayProcess>();
  const load = new Load(world, (slot) => gateways.get(slot)?.url ?? null);
  const end = async (slot: Slot, signal: NodeJS.Signals): Promise<number | string> => {
    const gateway = gateways.get(slot)!;
    gateway.child.kill(signal);
    const status = await gateway.exited;
    gateways.delete(slot);
    return status;
  };
  const rig: FaultRig = {
    server,
    world,
    load,
    start: async (slot, more = {}) => {
      gateways.set(slot, await spawnGateway(world, { TOLLGATE_DATA_DIR: join(world.folder, slot), ...more }));
    },
    kill: async (slot) => {
      load.died(slot);
      await end(slot, 'SIGKILL');
    },
    stop: (slot) => end(slot, 'SIGTERM'),
    allServe: async () => {
      const now = performance.now();
      return Math.max(...(await Promise.all([...gateways.keys()].map((slot) => load.servedAfter(now, slot)))));
    },
    holdsEnded: async () => {
      const startedAt = performance.now();
      const before = new Date();
      while ((await openHolds(world, before)) > load.streamsSince(startedAt)) {
        if (performance.now() - startedAt > ALL_ENDED_MS) break;
        await sleep(POLL_MS);
      }
      return performance.now() - startedAt;
    },
    faults: async () => {
      await rig.holdsEnded();
      const faults = await load.faults();
      await expectSettled(world).catch((error: Error) => faults.push(error.message));
      return faults;
    },
    close: async () => {
      for (const gateway of gateways.values()) {
        gateway.child.kill('SIGKILL');
        await gateway.exited;
      }
      await world.upstream.close();
      await world.database.drop();
      rmSync(world.folder, { recursive: true, force: true });
    },
  };
  return rig;
}

async function openHolds(world: World, before: Date): Promise<number> {
  return (await world.pool.query('SELECT FROM holds WHERE opened_at < $1', [before])).rowCount!;
}

async function worldOn(server: PostgresServer): Promise<World> {
  const pool = createPool({ url: server.url, max: 4, applicationName: 'tollgate-test', log: silentLogger });
  const drop = async (): Promise<void> => {
    await pool.end();
    await server.drop();
  };
  const upstream = await startScriptedUpstream();
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-faults-'));
  const provider = `{ kind: openai, base_url: "${upstream.url}", api_key: "sk-provider-secret-0123456789" }`;
  const config = join(folder, 'tollgate.yaml');
  const catalog = join(folder, 'catalog.yaml');
  writeFileSync(config, `providers:\n  scripted: ${provider}\n  dead: ${provider}\n`);
  writeFileSync(catalog, CATALOG);
  const env = {
    DATABASE_URL: server.url,
    TOLLGATE_CONFIG: config,
    TOLLGATE_CATALOG: catalog,
    TOLLGATE_ADMIN_KEY: ADMIN_KEY,
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'warn',
  };
  return { database: { url: server.url, pool, drop }, pool, upstream, folder, env };
}
