/** What providers bill, as versions of the catalog have it: those never change, so that no receipt has to repeat it. */
import type { Pool } from 'pg';
import { type ModelEntry, modelEntry } from './file.ts';
import { type Price, readPrice, type WrittenPrice } from './price.ts';

/** A version of a model's entry. */
export interface EntryVersion {
  name: string;
  version: number;
}

export const versionKey = ({ name, version }: EntryVersion): string => `${version} ${name}`;

/** The entries of models at these versions, by `versionKey`. One that is not there, or that this release cannot read, is left out. */
export async function readModelEntries(
  pool: Pool,
  versions: readonly EntryVersion[],
): Promise<Map<string, ModelEntry>> {
  const { rows } = await pool.query<EntryVersion & { body: unknown }>(
    `SELECT name, version, body FROM catalog_entries JOIN unnest($1::text[], $2::integer[]) AS u (name, version)
       USING (name, version) WHERE kind = 'model' AND NOT deleted`,
    [versions.map(({ name }) => name), versions.map(({ version }) => version)],
  );
  const entries = new Map<string, ModelEntry>();
  for (const row of rows) {
    const read = modelEntry.safeParse(row.body);
    if (read.success) entries.set(versionKey(row), read.data);
  }
  return entries;
}

/** What a route of a model costs us: its own cost, else the model's; `null`: not known, or no such route. */
export function costOf(entry: ModelEntry, provider: string, providerModel: string): Price | null {
  const route = entry.routes.find((one) => one.provider === provider && one.model === providerModel);
  const cost = route === undefined ? undefined : (route.cost ?? entry.cost);
  return cost === undefined ? null : readPrice(cost as WrittenPrice);
}
