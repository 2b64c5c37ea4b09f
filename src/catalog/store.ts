/**
 * The catalog in the database: every change is a new version of an entry, nothing is changed in place, and each change
 * raises the catalog's version, which holds are checked against.
 */
import { createHash } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { type BuildOptions, buildCatalog, type KeptEntry } from './build.ts';
import type { EntryKind, FileEntry } from './file.ts';
import type { Catalog } from './types.ts';

/** What applying a file did, as `kind name`. */
export interface Applied {
  applied: string[];
  unchanged: string[];
  /** Last changed through the admin API, and left so. */
  skipped: string[];
  pruned: string[];
}

interface Latest {
  kind: EntryKind;
  name: string;
  version: number;
  source: 'file' | 'api';
  deleted: boolean;
  /** Of the version that last came from a file; `null`: none did, or it was pruned. */
  last_file_digest: string | null;
}

/**
 * Applies a file. An entry is applied when it differs from what a file last said of it; one last changed through the API
 * is then skipped, unless `force`. What is not in the file stays, unless `prune`, which spares what was last changed
 * through the API, unless `force`. One apply at a time; all of it or nothing.
 */
export async function applyCatalog(
  pool: Pool,
  entries: readonly FileEntry[],
  options: { force: boolean; prune: boolean },
): Promise<Applied> {
  return transaction(pool, async (db) => {
    await db.query('SELECT FROM catalog_state FOR UPDATE');
    const { rows } = await db.query<Latest>(
      `SELECT DISTINCT ON (kind, name) kind, name, version, source, deleted,
         (SELECT file_digest FROM catalog_entries f WHERE f.kind = e.kind AND f.name = e.name AND f.source = 'file'
            ORDER BY version DESC LIMIT 1) AS last_file_digest
       FROM catalog_entries e ORDER BY kind, name, version DESC`,
    );
    const latest = new Map(rows.map((row) => [`${row.kind} ${row.name}`, row]));
    const result: Applied = { applied: [], unchanged: [], skipped: [], pruned: [] };
    for (const entry of entries) {
      const label = `${entry.kind} ${entry.name}`;
      const known = latest.get(label);
      latest.delete(label);
      const digest = digestOf(entry.body);
      const overridden = known?.source === 'api';
      if (known?.last_file_digest === digest && !(options.force && overridden)) {
        result.unchanged.push(label);
      } else if (overridden && !options.force) {
        result.skipped.push(label);
      } else {
        await insert(db, { ...entry, version: (known?.version ?? 0) + 1, source: 'file', digest, author: null });
        result.applied.push(label);
      }
    }
    for (const [label, { kind, name, version, source, deleted }] of options.prune ? latest : []) {
      if (deleted) continue;
      if (source === 'api' && !options.force) {
        result.skipped.push(label);
        continue;
      }
      const gone = { kind, name, body: {}, version: version + 1, deleted: true };
      await insert(db, { ...gone, source: 'file', digest: null, author: null });
      result.pruned.push(label);
    }
    if (result.applied.length + result.pruned.length > 0) await raiseVersion(db);
    return result;
  });
}

/**
 * Sets one entry through the admin API: a new version, effective at the next request on every gateway. Returns the
 * version. `body` must have passed the schema of its kind.
 */
export async function putEntry(
  pool: Pool,
  kind: EntryKind,
  name: string,
  body: unknown,
  author: string,
): Promise<number> {
  return transaction(pool, async (db) => {
    await db.query('SELECT FROM catalog_state FOR UPDATE');
    const { rows } = await db.query<{ version: number | null }>(
      'SELECT max(version) AS version FROM catalog_entries WHERE kind = $1 AND name = $2',
      [kind, name],
    );
    const version = (rows[0]!.version ?? 0) + 1;
    await insert(db, { kind, name, body, version, source: 'api', digest: null, author });
    await raiseVersion(db);
    return version;
  });
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
    await db.query('SELECT FROM catalog_state FOR UPDATE');
    for (const entry of entries) {
      const { rows } = await db.query<{ version: number | null }>(
        'SELECT max(version) AS version FROM catalog_entries WHERE kind = $1 AND name = $2',
        [entry.kind, entry.name],
      );
      if ((rows[0]!.version ?? 0) !== entry.version) {
        const message = `The ${entry.kind} "${entry.name}" was changed meanwhile. Nothing was set: look at it anew.`;
        throw new TollgateError('conflict', { message });
      }
      await insert(db, { ...entry, version: entry.version + 1, source: 'api', digest: null, author });
    }
    await raiseVersion(db);
  });
}

/** The newest version of each entry of a kind, the deleted ones too. */
export async function latestEntries(
  pool: Pool,
  kind: EntryKind,
): Promise<{ name: string; version: number; body: unknown; deleted: boolean }[]> {
  const { rows } = await pool.query<{ name: string; version: number; body: unknown; deleted: boolean }>(
    `SELECT DISTINCT ON (name) name, version, body, deleted FROM catalog_entries
       WHERE kind = $1 ORDER BY name, version DESC`,
    [kind],
  );
  return rows;
}

/** The versions of one entry, newest first. */
export async function entryVersions(
  pool: Pool,
  kind: EntryKind,
  name: string,
): Promise<{ version: number; body: unknown; source: 'file' | 'api'; deleted: boolean; createdAt: Date }[]> {
  const { rows } = await pool.query<{
    version: number;
    body: unknown;
    source: 'file' | 'api';
    deleted: boolean;
    created_at: Date;
  }>(
    'SELECT version, body, source, deleted, created_at FROM catalog_entries WHERE kind = $1 AND name = $2 ORDER BY version DESC',
    [kind, name],
  );
  return rows.map(({ created_at, ...row }) => ({ ...row, createdAt: created_at }));
}

/** The catalog as it is now. */
export async function loadCatalog(pool: Pool, options: BuildOptions): Promise<Catalog> {
  // One statement, so that the version and the entries are of one instant.
  const { rows } = await pool.query<KeptEntry & { catalog_version: bigint; deleted: boolean }>(
    `SELECT s.version AS catalog_version, e.kind, e.name, e.version, e.body, e.deleted
       FROM catalog_state s LEFT JOIN (
         SELECT DISTINCT ON (kind, name) * FROM catalog_entries ORDER BY kind, name, version DESC) e ON true
       ORDER BY e.created_at`,
  );
  const entries = rows.filter((row) => row.kind !== null && !row.deleted);
  return buildCatalog(rows[0]!.catalog_version, entries, options);
}

interface NewEntry extends FileEntry {
  version: number;
  source: 'file' | 'api';
  digest: string | null;
  author: string | null;
  deleted?: boolean;
}

async function insert(db: ClientBase, entry: NewEntry): Promise<void> {
  await db.query(
    `INSERT INTO catalog_entries (kind, name, version, body, source, file_digest, author, deleted)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      entry.kind,
      entry.name,
      entry.version,
      JSON.stringify(entry.body),
      entry.source,
      entry.digest,
      entry.author,
      entry.deleted ?? false,
    ],
  );
}

async function raiseVersion(db: ClientBase): Promise<void> {
  await db.query('UPDATE catalog_state SET version = version + 1');
}

function digestOf(body: unknown): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
