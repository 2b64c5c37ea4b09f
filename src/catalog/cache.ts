/**
 * The catalog as this process knows it. It may be late: the hold of each request passes its version, and the ledger
 * answers `stale_policy` when the database has a newer one; then it is read again.
 *
 *   idle ──refresh──▶ reading ──refresh──▶ reading, another read due ──read ends──▶ reading
 *    ▲                   │ read ends: what it read is current; a failed read changes nothing
 *    └───────────────────┘
 */
import type { Catalog } from './types.ts';

export class CatalogCache {
  readonly #read: () => Promise<Catalog>;
  #current: Catalog;
  #reading: Promise<void> | null = null;
  #due: Promise<void> | null = null;

  constructor(first: Catalog, read: () => Promise<Catalog>) {
    this.#current = first;
    this.#read = read;
  }

  get current(): Catalog {
    return this.#current;
  }

  /**
   * Reads the catalog again, by a read that begins after this call: one that runs already may have missed the change
   * that the caller knows of. Callers that wait share one read. Rejects when the database does not answer.
   */
  refresh(): Promise<void> {
    if (this.#due !== null) return this.#due;
    if (this.#reading === null) return this.#start();
    this.#due = this.#reading
      .catch(() => {})
      .then(() => {
        this.#due = null;
        return this.#start();
      });
    return this.#due;
  }

  #start(): Promise<void> {
    this.#reading = this.#read()
      .then((catalog) => {
        this.#current = catalog;
      })
      .finally(() => {
        this.#reading = null;
      });
    return this.#reading;
  }
}
