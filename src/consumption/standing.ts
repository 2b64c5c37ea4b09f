/**
 * By what consumption is judged: the account and key as they are cached, and the catalog. The ledger verifies both where it books,
 * and a denial is confirmed before it is sent, so that the cache can only be late.
 *
 *   cached ──denied, stale_policy, or older than the catalog──▶ read again ──denied──▶ refused
 *      └──booked                                                     └──stale_policy, a few times──▶ overloaded
 */
import { accept, type Caller } from '../accounts/authenticate.ts';
import { isBehind, type Principal, type Principals } from '../accounts/principals.ts';
import type { CatalogCache } from '../catalog/cache.ts';
import type { Catalog } from '../catalog/types.ts';
import { TollgateError } from '../errors.ts';

/** Policy may change again while it is read again, but not for ever. */
const MOST_READS = 10;

export interface StandingDeps {
  principals: Principals;
  catalogs: CatalogCache;
}

export interface Standing {
  principal: Principal;
  catalog: Catalog;
}

/** Who asks, from where. */
export interface Asking {
  principal: Principal;
  caller: Caller;
}

/**
 * What `book` answers by a standing that `judge` allows. `judge` throws what denies it; `book` answers `stale` where the ledger knows
 * of a newer one. Throws the denial, confirmed; `overloaded` when the standing changed with every attempt to read it.
 */
export async function judged<J, T>(
  deps: StandingDeps,
  asking: Asking,
  judge: (standing: Standing) => J,
  book: (judgement: J, standing: Standing) => Promise<T | 'stale'>,
): Promise<T> {
  let standing: Standing = { principal: asking.principal, catalog: deps.catalogs.current };
  for (let reads = 0; reads <= MOST_READS; reads++) {
    if (reads > 0) standing = await readAgain(deps, asking, standing.principal);
    if (isOld(standing)) continue;
    let judgement: J;
    try {
      judgement = judge(standing);
    } catch (denial) {
      if (reads > 0) throw denial;
      continue;
    }
    const answer = await book(judgement, standing);
    if (answer !== 'stale') return answer;
  }
  throw new TollgateError('overloaded', { cause: 'the policy changed with every attempt to read it' });
}

/** Whether one of them was read before a change that the other has. */
function isOld({ principal, catalog }: Standing): boolean {
  return catalog.version < principal.catalogVersion || isBehind(principal, catalog.version);
}

async function readAgain(deps: StandingDeps, asking: Asking, principal: Principal): Promise<Standing> {
  const [fresh] = await Promise.all([deps.principals.reload(principal), deps.catalogs.refresh()]);
  return { principal: accept(fresh, 'consume', asking.caller), catalog: deps.catalogs.current };
}
