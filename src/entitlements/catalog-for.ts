/** The catalog that a principal is to be judged by. */
import type { Principal } from '../accounts/principals.ts';
import type { CatalogCache } from '../catalog/cache.ts';
import type { Catalog } from '../catalog/types.ts';

/**
 * A catalog that is not older than the one in force when the principal was read: read again only where this process knows an
 * older one, so that a call that reads the principal asks the database once. Rejects when the database does not answer.
 */
export async function catalogFor(
  catalogs: CatalogCache,
  principal: Pick<Principal, 'catalogVersion'>,
): Promise<Catalog> {
  if (catalogs.current.version < principal.catalogVersion) await catalogs.refresh();
  return catalogs.current;
}
