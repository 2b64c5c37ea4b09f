/** How the phases are called in the tables: by where the load goes, and what it is. */

/** Clients of the phases that are compared. */
export const CLIENTS = 64;
/** Of the open loop. */
export const PAIRS_PER_SECOND = 1_000;

export const ONE = 'one account';
export const MANY = 'many accounts';
export const OPEN = `${ONE}, ${PAIRS_PER_SECOND.toLocaleString('en')} pairs/s`;
export const TEXTBOOK = `textbook, ${ONE}, ${CLIENTS} clients`;

export const closed = (where: string, clients: number): string =>
  `${where}, ${clients === 1 ? 'alone' : `${clients} clients`}`;

/** A ledger that began with so many entries; 64 clients on many accounts. */
export const grown = (entries: number): string => `${entries.toLocaleString('en')} entries`;
