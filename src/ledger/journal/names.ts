/**
 * Whose a journal is stands in its name, and changes hands by a rename, which only one can win. Node has no lock on files
 * that dies with its process; none is needed, since a record may be replayed any number of times.
 *
 *   <owner>-<n>.journal ──claimed──▶ <claimer>-claimed-<owner>-<n>.journal ──claimer died──▶ <another>-claimed-…
 *        │                                 └──replayed──▶ deleted
 *        └──clean exit with records left──▶ 0-claimed-<owner>-<n>.journal: nobody's, free for all
 *
 * Owner ids are never used twice, nor is `n` by an owner: a claim never overwrites another file.
 */

/** The holder of a file that its process gave up. */
export const NOBODY = 0n;

/** Where the journals of a data folder are. */
export const FOLDER = 'journal';

export interface JournalName {
  /** Who works on the file: the process that claimed it, else the one that wrote it. */
  holder: bigint;
  /** The name it was made with. */
  origin: string;
}

/** The name of the `n`th file that an owner makes. */
export function journalName(owner: bigint, n: number): string {
  return `${owner}-${n}.journal`;
}

/** The name of a file once `holder` has claimed it. */
export function claimedName(holder: bigint, origin: string): string {
  return `${holder}-claimed-${origin}`;
}

/** What a file's name says; `null`: it is no journal. */
export function parseName(name: string): JournalName | null {
  const match = /^(?:(\d+)-claimed-)?((\d+)-\d+\.journal)$/.exec(name);
  if (match === null) return null;
  return { holder: BigInt(match[1] ?? match[3]!), origin: match[2]! };
}
