/**
 * The benchmark's own embedded Postgres, as Tollgate ships it (fsync on), in a folder of its own; and what its work costs.
 *
 *   absent ──start──▶ running ──stop──▶ absent; the folder is removed, or kept to be looked at
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { pathsOf } from '../../../src/db/embedded/cluster.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../../src/db/embedded/index.ts';
import { findServer } from '../../../src/db/embedded/process.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import { machineCpuSeconds, postgresCpuSeconds } from '../cost.ts';

/** In the clone, not in the system's folder for temporary files: that is often memory, where an fsync costs nothing. */
const PARENT = join(import.meta.dirname, '../../../.bench');

/** Readings that only grow: the difference of two is what happened between them. */
export interface Costs {
  /** Seconds. */
  at: number;
  /** CPU seconds of the postmaster with all its processes. */
  database: number;
  /** CPU seconds of this process: clients, writer and driver. */
  node: number;
  /** CPU seconds of everybody. */
  machine: number;
  walBytes: number;
  /** Transactions that wrote. */
  commits: number;
}

export class Server {
  readonly folder: string;
  readonly #postgres: EmbeddedPostgres;
  readonly #admin: pg.Client;
  readonly #postmaster: number;

  private constructor(folder: string, postgres: EmbeddedPostgres, admin: pg.Client, postmaster: number) {
    this.folder = folder;
    this.#postgres = postgres;
    this.#admin = admin;
    this.#postmaster = postmaster;
  }

  static async start(): Promise<Server> {
    mkdirSync(PARENT, { recursive: true });
    const folder = mkdtempSync(join(PARENT, 'ledger-'));
    // As root, Postgres runs as another user, who must be able to enter.
    chmodSync(folder, 0o755);
    const dataDir = join(folder, 'data');
    const postgres = await startEmbedded({ dataDir, log: silentLogger });
    const admin = new pg.Client({ connectionString: postgres.url });
    // One that is lost fails its next query.
    admin.on('error', () => {});
    await admin.connect();
    return new Server(folder, postgres, admin, findServer(pathsOf(dataDir).folder)!.pid);
  }

  /** Of a database of this server. With the password: not to be printed. */
  url(database: string): string {
    const url = new URL(this.#postgres.url);
    url.pathname = `/${database}`;
    return url.toString();
  }

  /** Makes a database: an empty one, or a copy of one that nobody is connected to. */
  async create(database: string, template = 'template1'): Promise<void> {
    await this.#admin.query(`CREATE DATABASE ${database} TEMPLATE ${template}`);
  }

  async checkpoint(): Promise<void> {
    await this.#admin.query('CHECKPOINT');
  }

  /** Bytes that may still be written where the database lies. */
  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  async costs(): Promise<Costs> {
    const { rows } = await this.#admin.query<{ wal: string; xid: string }>(
      "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal, pg_snapshot_xmax(pg_current_snapshot())::text AS xid",
    );
    const { user, system } = process.cpuUsage();
    return {
      at: performance.now() / 1000,
      database: postgresCpuSeconds(this.#postmaster),
      node: (user + system) / 1e6,
      machine: machineCpuSeconds(),
      walBytes: Number(rows[0]!.wal),
      commits: Number(rows[0]!.xid),
    };
  }

  async stop(keepFolder: boolean): Promise<void> {
    await this.#admin.end();
    await this.#postgres.stop();
    if (!keepFolder) rmSync(this.folder, { recursive: true, force: true });
  }
}
