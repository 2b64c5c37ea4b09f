/**
 * Everything that the phases run on: the server, and the ledgers in it.
 *
 *   main    many accounts and the hot ones; grows as the run goes
 *   young   a new copy of main's beginning for each round: the ledger with few entries, which is to stay one
 *   old     one for each size, with months of charges
 *   textbook
 *
 *   empty ──setUp──▶ ready ──newYoung, load, its gate──▶ ready ──faults: the gates──▶ ready ──close──▶ gone
 */
import { migrate } from '../../../src/db/migrate.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import { connect, Ledger } from './ledger.ts';
import { accountIds, bookPast, openAccounts, type Past } from './preload.ts';
import { Server } from './server.ts';
import { Textbook } from './textbook.ts';

const NO_PAST: Past = { charges: 0, charged: 0n };
const TEMPLATE = 'beginning';
/** What an entry takes with its index, and what Postgres keeps of its log: on the safe side. */
const ENTRY_BYTES = 500;
const SPARE_BYTES = 6_000_000_000;

export type Progress = (line: string) => void;

export interface Old {
  entries: number;
  ledger: Ledger;
}

export class Site {
  readonly many: readonly bigint[];
  readonly hot: readonly bigint[];
  readonly old: Old[] = [];
  readonly notes: string[] = [];
  #starting: Promise<Server> | null = null;
  #server: Server | null = null;
  #main: Ledger | null = null;
  #textbook: Textbook | null = null;
  #databases = 0;

  /** For `accounts` many accounts, and `hot` more. */
  constructor(accounts: number, hot: number) {
    const ids = accountIds(accounts + hot);
    this.many = ids.slice(0, accounts);
    this.hot = ids.slice(accounts);
  }

  get folder(): string {
    return this.#server?.folder ?? '';
  }

  get server(): Server {
    return this.#server!;
  }

  get main(): Ledger {
    return this.#main!;
  }

  get textbook(): Textbook {
    return this.#textbook!;
  }

  /** `sizes`: entries of the old ledgers, multiples of `accounts`. One that the disk has no room for is left out, with a note. */
  async setUp(sizes: readonly number[], progress: Progress): Promise<void> {
    this.#starting = Server.start();
    this.#server = await this.#starting;
    await this.server.create(TEMPLATE);
    await migrate(this.server.url(TEMPLATE), silentLogger);
    const client = await connect(this.server.url(TEMPLATE));
    await openAccounts(client, [...this.many, ...this.hot]).finally(() => client.end());
    this.#main = await this.newYoung();
    await this.server.create('textbook');
    this.#textbook = await Textbook.open(this.server.url('textbook'));
    for (const size of sizes) await this.#age(size, progress);
    await this.server.checkpoint();
  }

  /** A ledger that only has its grants. The caller closes it. */
  async newYoung(): Promise<Ledger> {
    return Ledger.open(this.server.url(await this.#newDatabase()), NO_PAST);
  }

  /** The gates of all that is left open. */
  async faults(progress: Progress): Promise<string[]> {
    const gates = [
      { name: 'main', gate: this.main },
      ...this.old.map(({ entries, ledger }) => ({ name: `${entries.toLocaleString('en')} entries`, gate: ledger })),
      { name: 'textbook', gate: this.textbook },
    ];
    const faults: string[] = [];
    for (const { name, gate } of gates) {
      progress(`the gate of: ${name}`);
      for (const fault of await gate.faults()) faults.push(`${name}: ${fault}`);
    }
    return faults;
  }

  async close(keepFolder: boolean): Promise<void> {
    // What a failed set-up did not get to is not there, and what a failed run left open ends with the server.
    const open = [this.#main, this.#textbook, ...this.old.map(({ ledger }) => ledger)];
    await Promise.allSettled(open.map((one) => one?.close()));
    // Broken off while it starts, it would stay behind.
    await (await this.#starting?.catch(() => null))?.stop(keepFolder);
  }

  async #age(entries: number, progress: Progress): Promise<void> {
    const name = `${entries.toLocaleString('en')} entries`;
    const needed = entries * ENTRY_BYTES + SPARE_BYTES;
    if (this.server.freeBytes() < needed) {
      this.notes.push(`Left out: ${name}; they would need ${(needed / 1e9).toFixed(0)} GB of disk.`);
      return;
    }
    const each = entries / this.many.length - 1;
    const database = await this.#newDatabase();
    const client = await connect(this.server.url(database));
    const told = (done: number): void => progress(`${name}: ${done.toLocaleString('en')} charges booked`);
    const past = await bookPast(client, this.many, each, told).finally(() => client.end());
    this.old.push({ entries, ledger: await Ledger.open(this.server.url(database), past) });
  }

  async #newDatabase(): Promise<string> {
    const database = `ledger_${this.#databases++}`;
    await this.server.create(database, TEMPLATE);
    return database;
  }
}
