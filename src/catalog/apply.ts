/** `catalog apply`, and each start: what a file changed since it was last applied becomes new versions. */
import { createHash } from 'node:crypto';
import type { Pool } from 'pg';
import { transaction } from '../db/pool.ts';
import type { EntryKind, FileEntry, ModelEntry, PlanEntry } from './file.ts';
import { type Question, questionPlan, questionPrice } from './sanity.ts';
import { catalogChanged, insertVersion, lockCatalog } from './store.ts';

/** What applying a file did, as `kind name`. */
export interface Applied {
  applied: string[];
  unchanged: string[];
  /** Last changed through the admin API, and left so. */
  skipped: string[];
  pruned: string[];
  /** Prices of what was applied that are likely a slip. They hold: a file is asked about, and not refused. */
  questions: AppliedQuestion[];
}

export interface AppliedQuestion extends Question {
  /** As `kind name`. */
  entry: string;
}

interface Latest {
  kind: EntryKind;
  name: string;
  version: number;
  source: 'file' | 'api';
  deleted: boolean;
  body: unknown;
  /** Of the version that last came from a file; `null`: none did, or it was pruned. */
  last_file_digest: string | null;
}

/**
 * Applies a file. An entry is applied when it differs from what a file last said of it; one last changed through the API
 * is then skipped, unless `force`: so is one with a version from the API that waits, and `force` gives up what waits. What
 * is not in the file stays, unless `prune`, which spares what was last changed through the API, unless `force`. One apply at
 * a time; all of it or nothing.
 */
export async function applyCatalog(
  pool: Pool,
  entries: readonly FileEntry[],
  options: { force: boolean; prune: boolean },
): Promise<Applied> {
  return transaction(pool, async (db) => {
    const now = await lockCatalog(db);
    const { rows } = await db.query<Latest>(
      `SELECT DISTINCT ON (kind, name) kind, name, version, source, deleted, body,
         (SELECT file_digest FROM catalog_entries f WHERE f.kind = e.kind AND f.name = e.name AND f.source = 'file'
            ORDER BY version DESC LIMIT 1) AS last_file_digest
       FROM catalog_entries e ORDER BY kind, name, version DESC`,
    );
    const latest = new Map(rows.map((row) => [`${row.kind} ${row.name}`, row]));
    const models = new Map(entries.filter(({ kind }) => kind === 'model').map(({ name, body }) => [name, body]));
    const result: Applied = { applied: [], unchanged: [], skipped: [], pruned: [], questions: [] };
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
        const version = (known?.version ?? 0) + 1;
        await insertVersion(db, { ...entry, version, source: 'file', digest, author: null, effectiveAt: now });
        result.applied.push(label);
        const before = known === undefined || known.deleted ? null : known.body;
        for (const question of questionsOf(entry, before, models)) result.questions.push({ entry: label, ...question });
      }
    }
    for (const [label, { kind, name, version, source, deleted }] of options.prune ? latest : []) {
      if (deleted) continue;
      if (source === 'api' && !options.force) {
        result.skipped.push(label);
        continue;
      }
      const gone = { kind, name, body: {}, version: version + 1, deleted: true };
      await insertVersion(db, { ...gone, source: 'file', digest: null, author: null, effectiveAt: now });
      result.pruned.push(label);
    }
    if (result.applied.length + result.pruned.length > 0) await catalogChanged(db, now);
    return result;
  });
}

/** `before`: what the entry takes the place of, or `null`; `models`: those of the same file. */
function questionsOf(
  { kind, body }: FileEntry,
  before: unknown,
  models: ReadonlyMap<string, unknown>,
): readonly Question[] {
  if (kind === 'model') return questionPrice(body as ModelEntry, before as ModelEntry | null).questions;
  if (kind !== 'plan') return [];
  const modelOf = (name: string) => (models.get(name) ?? null) as ModelEntry | null;
  return questionPlan(body as PlanEntry, before as PlanEntry | null, modelOf);
}

function digestOf(body: unknown): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
