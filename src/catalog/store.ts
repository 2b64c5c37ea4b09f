/**
 * The catalog in the database: every change is a new version of an entry, nothing is changed in place, and each change raises the
 * catalog's version, which holds are checked against. Who writes holds the lock of the whole catalog, so that changes have one
 * order. A version may wait for its instant:
 *
 *   made ──its instant comes──▶ in force ──the next one's comes──▶ past
 *     └──another is made for the same instant or an earlier one──▶ replaced: made anew as a higher version, or given up
 *
 * Made anew, it says of the fields that it set itself what it said, and of all else what now stands before it: a price that waits
 * does not undo a route that was mended meanwhile.
 */
import type { ClientBase, Pool } from 'pg';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { type BuildOptions, buildCatalog, type KeptEntry } from './build.ts';
import type { EntryKind, FileEntry } from './file.ts';
import type { Catalog } from './types.ts';

type Body = Readonly<Record<string, unknown>>;

/** A version of an entry that was, is or will be in force. */
export interface KeptVersion {
  version: number;
  body: Body;
  /** Those of the body that it set; `null`: all. */
  fields: readonly string[] | null;
  source: 'file' | 'api';
  deleted: boolean;
  author: string | null;
  effectiveAt: Date;
  /** Its instant has not come. */
  waits: boolean;
}

/** A change of one entry through the admin API. */
export interface EntryChange {
  kind: EntryKind;
  name: string;
  author: string;
  /** When it holds; `null`: now. */
  at: Date | null;
  /** What it sets; all else stays as it then is. `null`: the whole body. */
  fields: readonly string[] | null;
  /** The new body, which must pass the schema of its kind, from the version that it takes the place of; `null`: there is none. May throw. */
  make: (base: KeptVersion | null) => Body;
}

/** Of one entry: each of them is made anew when the entry changes before they are due. */
const MOST_WAITING = 20;

/**
 * Makes a new version of one entry, effective at its instant, or at the next request, on every gateway. What waits for a later
 * instant stays; what waited for the same one is replaced. Throws `invalid_request` on an instant that has passed, `conflict`
 * when too many wait, and what `make` throws; then nothing is changed.
 */
export async function changeEntry(database: Db, change: EntryChange): Promise<KeptVersion> {
  return transaction(database, async (db) => {
    const now = await lockCatalog(db);
    const version = await changeLocked(db, now, change);
    await catalogChanged(db, now);
    const kept = await versionsOf(db, change.kind, change.name);
    return kept.find((one) => one.version === version)!;
  });
}

async function changeLocked(db: ClientBase, now: string, change: EntryChange): Promise<number> {
  const { kind, name, author, at, make } = change;
  const kept = await versionsOf(db, kind, name);
  if (at !== null) refuseInstant(at, now, kept);
  const later = kept.filter((one) => one.waits && (at === null || one.effectiveAt > at)).reverse();
  const base = kept[later.length] ?? null;
  let body = make(base === null || base.deleted ? null : base);
  let version = (await newestVersion(db, kind, name)) + 1;
  const isRepeated = base?.waits && base.effectiveAt.getTime() === at?.getTime();
  const fields = isRepeated ? union(base.fields, change.fields) : change.fields;
  const made = version;
  await insertVersion(db, {
    kind,
    name,
    body,
    version,
    source: 'api',
    digest: null,
    author,
    fields,
    effectiveAt: at ?? now,
  });
  for (const waiting of later) {
    body = waiting.fields === null ? waiting.body : { ...body, ...pick(waiting.body, waiting.fields) };
    await insertVersion(db, { ...waiting, kind, name, body, version: ++version, digest: null });
  }
  return made;
}

function union(a: readonly string[] | null, b: readonly string[] | null): string[] | null {
  return a === null || b === null ? null : [...new Set([...a, ...b])];
}

function pick(body: Body, fields: readonly string[]): Body {
  return Object.fromEntries(Object.entries(body).filter(([field]) => fields.includes(field)));
}

/** Throws `invalid_request` when an instant has passed, `conflict` when too many versions wait for others. */
export function refuseInstant(
  at: Date,
  now: string,
  kept: readonly Pick<KeptVersion, 'waits' | 'effectiveAt'>[],
): void {
  if (at <= new Date(now)) {
    const message =
      "Invalid value for 'effective_at': it has passed. Name a later time, or leave it out: then the change holds at once.";
    throw new TollgateError('invalid_request', { param: 'effective_at', message });
  }
  const others = kept.filter(({ waits, effectiveAt }) => waits && effectiveAt.getTime() !== at.getTime());
  if (others.length >= MOST_WAITING) {
    const message = `${MOST_WAITING} changes wait already, which is the most. Send the instant of one of them to replace it.`;
    throw new TollgateError('conflict', { param: 'effective_at', message });
  }
}

/** Sets one entry as it is given: a new version, effective at the next request on every gateway. Returns the version. */
export async function putEntry(db: Db, kind: EntryKind, name: string, body: unknown, author: string): Promise<number> {
  return (await changeEntry(db, { kind, name, author, at: null, fields: null, make: () => body as Body })).version;
}

/** An entry to be set, made from the version that it takes the place of; 0: there was none. */
export interface Replacement extends FileEntry {
  version: number;
}

/**
 * Sets several entries as `putEntry` does, all or none. Throws `conflict` when one of them was changed since the version that
 * it was made from.
 */
export async function putEntries(pool: Pool, entries: readonly Replacement[], author: string): Promise<void> {
  if (entries.length === 0) return;
  await transaction(pool, async (db) => {
    const now = await lockCatalog(db);
    for (const { kind, name, body, version } of entries) {
      if ((await newestVersion(db, kind, name)) !== version) {
        const message = `The ${kind} "${name}" was changed meanwhile. Nothing was set: look at it anew.`;
        throw new TollgateError('conflict', { message });
      }
      await changeLocked(db, now, { kind, name, author, at: null, fields: null, make: () => body as Body });
    }
    await catalogChanged(db, now);
  });
}

/**
 * The entries of a kind that are in force, the deleted ones too. `version` is the newest number of each, though that may wait:
 * what `putEntries` compares.
 */
export async function latestEntries(
  db: Db,
  kind: EntryKind,
): Promise<{ name: string; version: number; body: unknown; deleted: boolean }[]> {
  const { rows } = await db.query<{ name: string; version: number; body: unknown; deleted: boolean }>(
    `SELECT name, body, deleted,
       (SELECT max(version) FROM catalog_entries n WHERE n.kind = e.kind AND n.name = e.name) AS version
       FROM catalog_in_force() e WHERE kind = $1 ORDER BY name`,
    [kind],
  );
  return rows;
}

/** The versions of one entry, newest first: those that wait, the one in force, those that were. */
export async function entryVersions(db: Db, kind: EntryKind, name: string): Promise<KeptVersion[]> {
  await db.query('SELECT catalog_advance()');
  return versionsOf(db, kind, name);
}

/** Left out are those that another took the place of before they were due. */
async function versionsOf(db: Pool | ClientBase, kind: EntryKind, name: string): Promise<KeptVersion[]> {
  const { rows } = await db.query<Omit<KeptVersion, 'effectiveAt'> & { effective_at: Date }>(
    `SELECT version, body, fields, source, deleted, author, effective_at, effective_at >= next_change_at AS waits FROM (
         SELECT e.*, s.next_change_at,
           min(effective_at) OVER (ORDER BY e.version DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS replaced_at
           FROM catalog_entries e CROSS JOIN catalog_state s WHERE kind = $1 AND name = $2) t
       WHERE replaced_at IS NULL OR effective_at < replaced_at ORDER BY version DESC`,
    [kind, name],
  );
  return rows.map(({ effective_at, ...row }) => ({ ...row, effectiveAt: effective_at }));
}

async function newestVersion(db: ClientBase, kind: EntryKind, name: string): Promise<number> {
  const { rows } = await db.query<{ version: number }>(
    'SELECT coalesce(max(version), 0) AS version FROM catalog_entries WHERE kind = $1 AND name = $2',
    [kind, name],
  );
  return rows[0]!.version;
}

/** The catalog as it is now, by the database's clock. */
export async function loadCatalog(pool: Pool, options: BuildOptions): Promise<Catalog> {
  const { rows } = await pool.query<KeptEntry & { catalog_version: bigint; deleted: boolean }>(
    'SELECT catalog_version, kind, name, version, body, deleted FROM catalog_in_force()',
  );
  const entries = rows.filter((row) => row.kind !== null && !row.deleted);
  return buildCatalog(rows[0]!.catalog_version, entries, options);
}

/**
 * The catalog as it was in force at an instant: what explains a decision that was made then. Its version is 0: no hold may be judged
 * by it. `at`: with its offset, in microseconds, which a `Date` has not.
 */
export async function catalogAt(pool: Pool, at: string, options: BuildOptions): Promise<Catalog> {
  const { rows } = await pool.query<KeptEntry & { deleted: boolean }>(
    'SELECT kind, name, version, body, deleted FROM catalog_at($1)',
    [at],
  );
  return buildCatalog(
    0n,
    rows.filter(({ deleted }) => !deleted),
    options,
  );
}

/** A version to be written. */
export interface NewVersion extends FileEntry {
  version: number;
  source: 'file' | 'api';
  digest: string | null;
  author: string | null;
  effectiveAt: Date | string;
  fields?: readonly string[] | null;
  deleted?: boolean;
}

/** Writes a version, under the lock. */
export async function insertVersion(db: ClientBase, entry: NewVersion): Promise<void> {
  await db.query(
    `INSERT INTO catalog_entries (kind, name, version, body, source, file_digest, author, deleted, effective_at, fields)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      entry.kind,
      entry.name,
      entry.version,
      JSON.stringify(entry.body),
      entry.source,
      entry.digest,
      entry.author,
      entry.deleted ?? false,
      entry.effectiveAt,
      entry.fields ?? null,
    ],
  );
}

/** Waits for whoever writes prices. Returns the instant of this change as text: a `Date` would lose its microseconds. */
export async function lockCatalog(db: Pick<ClientBase, 'query'>): Promise<string> {
  const { rows } = await db.query<{ now: string }>('SELECT catalog_lock()::text AS now');
  return rows[0]!.now;
}

/** Ends a change made under the lock: what gateways know of the catalog is old from its commit on. */
export async function catalogChanged(db: ClientBase, now: string): Promise<void> {
  await db.query('SELECT catalog_changed($1)', [now]);
}
