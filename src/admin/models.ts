/** Models and their prices: each change is a new version, effective at the next request on every gateway. */
import type { FastifyInstance } from 'fastify';
import { modelEntry } from '../catalog/file.ts';
import { entryVersions, putEntry } from '../catalog/store.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { type AdminDeps, noSuch } from './shared.ts';

type Versions = Awaited<ReturnType<typeof entryVersions>>;

/** Names of models may hold slashes, so they are the rest of the path. */
interface ByName {
  Params: { '*': string };
}

const PRICES = '/prices';
const MOST_NAME_CHARS = 200;

export function registerModels(scope: FastifyInstance, { pool }: AdminDeps): void {
  scope.get<ByName>('/models/*', async (request) => {
    const path = request.params['*'];
    const name = path.endsWith(PRICES) ? path.slice(0, -PRICES.length) : path;
    const versions = isName(name) ? await entryVersions(pool, 'model', name) : [];
    if (versions[0] === undefined || versions[0].deleted) throw noSuch('model', name);
    if (name === path) return presentModel(name, versions);
    return { data: versions.filter(({ deleted }) => !deleted).map(presentPrice), has_more: false, next_cursor: null };
  });

  scope.put<ByName>('/models/*', async (request) => {
    const name = request.params['*'];
    if (!isName(name))
      throw invalidField('model', `must have 1 to ${MOST_NAME_CHARS} characters and not end in ${PRICES}`);
    const entry = readInput(modelEntry, numbersAsText(request.body));
    await putEntry(pool, 'model', name, entry, 'admin');
    return presentModel(name, await entryVersions(pool, 'model', name));
  });
}

function isName(name: string): boolean {
  return name !== '' && name.length <= MOST_NAME_CHARS && !name.includes('\0') && !name.endsWith(PRICES);
}

function presentModel(name: string, versions: Versions) {
  const [{ version, body, source, createdAt }] = versions as [Versions[number]];
  return { model: name, version, source, effective_at: createdAt.toISOString(), ...(body as object) };
}

function presentPrice({ version, body, createdAt }: Versions[number]) {
  const { price, cost } = body as { price?: unknown; cost?: unknown };
  return { version, price: price ?? null, cost: cost ?? null, effective_at: createdAt.toISOString() };
}

/** Prices are text, as in the catalog's file. Whatever number `parseJson` left is exactly its text. */
function numbersAsText(value: unknown): unknown {
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return value.map(numbersAsText);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, numbersAsText(item)]));
}
