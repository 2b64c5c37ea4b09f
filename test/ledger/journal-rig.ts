/** Gateways of the tests of the journal: a writer, its journal and its takeover, over a wire to Postgres that can be cut. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../src/ledger/journal/journal.ts';
import { SLOT_BYTES } from '../../src/ledger/journal/slots.ts';
import { Takeover, type TakeoverOptions } from '../../src/ledger/journal/takeover.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.ts';
import { type LedgerRig, NotedConnection } from './rig.ts';

export interface TestGateway {
  owner: bigint;
  writer: LedgerWriter;
  journal: Journal;
  takeover: Takeover;
  /** As a crash leaves it: nothing is written or renamed any more. */
  die(): Promise<void>;
  /** As a clean exit leaves it. */
  exit(): Promise<void>;
}

export interface JournalRig {
  dataDir: string;
  proxy: WireProxy;
  /** Of the journals: it stands still, but for what a test adds. The writers' goes on. */
  clock: { aheadMs: number; now(): number };
  /** Owners that are known to be dead. */
  dead: bigint[];
  gateway(more?: { slots?: number; away?: boolean } & Partial<TakeoverOptions>): Promise<TestGateway>;
  /** Cuts the wire of the gateways that are `away`. */
  cut(): void;
  mend(): void;
  /** The journals on the disk; not the folder of what was refused. */
  files(): string[];
  refused(): string[];
  close(): Promise<void>;
}

let owners = 5_000n;

export async function openJournals(ledger: LedgerRig): Promise<JournalRig> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-journal-'));
  const proxy = await startWireProxy(ledger.database.url);
  const startMs = systemClock.now();
  const clock = { aheadMs: 0, now: () => startMs + clock.aheadMs };
  const gateways: TestGateway[] = [];
  const list = (folder: string, suffix: string): string[] => {
    try {
      return readdirSync(join(dataDir, folder)).filter((name) => name.endsWith(suffix));
    } catch {
      return [];
    }
  };
  const rig: JournalRig = {
    dataDir,
    proxy,
    clock,
    dead: [],
    gateway: async ({ slots = 64, away = false, ...more } = {}) => {
      const owner = ++owners;
      const bytes = slots * SLOT_BYTES;
      const connection = new NotedConnection(away ? proxy.url : ledger.database.url, owner, silentLogger);
      await ledger.pool.query("INSERT INTO owners VALUES ($1, 'infinity', now())", [owner]);
      const journal = await Journal.open({ dataDir, owner, bytes, clock, log: silentLogger });
      const options = {
        connection,
        clock: systemClock,
        log: silentLogger,
        journal,
        // Short, and yet more than a busy machine needs for an answer; the first hold connects, too.
        journalAfterMs: 250,
        holdTimeoutMs: 1_500,
      };
      const writer = new LedgerWriter(options);
      const takeover = new Takeover({
        journal,
        owner,
        clock,
        log: silentLogger,
        gone: () => rig.dead,
        answers: () => true,
        replay: (operation) => writer.replay(operation),
        ...more,
      });
      const gateway: TestGateway = {
        owner,
        writer,
        journal,
        takeover,
        die: async () => {
          rig.dead.push(owner);
          await writer.close();
          await connection.close();
        },
        exit: async () => {
          await writer.close();
          await takeover.stop();
          await journal.close();
          await connection.close();
        },
      };
      gateways.push(gateway);
      return gateway;
    },
    cut: () => {
      proxy.open = false;
      proxy.strikeAll('cut');
    },
    mend: () => {
      proxy.open = true;
      proxy.passes = 'all';
    },
    files: () => list('journal', '.journal'),
    refused: () => list('journal/refused', '.json'),
    close: async () => {
      for (const gateway of gateways) await gateway.exit();
      await proxy.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return rig;
}
