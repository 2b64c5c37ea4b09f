/**
 * The catalog as this process knows it. It may be late: the hold of each request passes its version, and the ledger
 * answers `stale_policy` when the database has a newer one; then it is read again.
 */
import type { Catalog } from './types.ts';

export class CatalogCache {
  readonly #read: () => Promise<Catalog>;
  #current: Catalog;
  #reading: Promise<void> | null = null;

  constructor(first: Catalog, read: () => Promise<Catalog>) {
    this.#current = first;
    this.#read = read;
  }

  get current(): Catalog {
    return this.#current;
  }

  /** Reads the catalog again; concurrent calls share one read. */
  refresh(): Promise<void> {
    this.#reading ??= this.#read()
      .then((catalog) => {
        this.#current = catalog;
      })
      .finally(() => {
        this.#reading = null;
      });
    return this.#reading;
  }
}
