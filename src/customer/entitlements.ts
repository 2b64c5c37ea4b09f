/** What an account may do, for its host application to ask: each answer by policy and catalog as they are in force at the call. */
import { z } from 'zod';
import type { CatalogCache } from '../catalog/cache.ts';
import { decision, spokenPage } from '../entitlements/answers.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { answer, check, readCheck } from '../entitlements/check.ts';
import { presentAnswer, presentSpoken, spokenCursor } from '../entitlements/present.ts';
import { accessOf } from '../entitlements/resolve.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { type Asked, type Call, reading } from './calls.ts';

export interface EntitlementDeps {
  catalogs: CatalogCache;
}

const MOST_PER_PAGE = 200;
const query = z.strictObject({
  limit: pageQuery.shape.limit.removeDefault().default(MOST_PER_PAGE),
  cursor: pageQuery.shape.cursor,
});

export function entitlementCalls({ catalogs }: EntitlementDeps): Call[] {
  const list = async ({ principal, request }: Asked) => {
    const { limit, cursor } = readInput(query, request.query);
    const after = readCursor(cursor, spokenCursor);
    const access = accessOf(await catalogFor(catalogs, principal), principal);
    return toPage(
      presentSpoken(access, after),
      limit,
      (one) => one,
      ({ key }) => key,
    );
  };
  const judge = async ({ principal, request }: Asked) => {
    const asked = readCheck(request.body);
    return { ...presentAnswer(answer(await catalogFor(catalogs, principal), principal, asked)), at: principal.readAt };
  };
  return [
    reading('/entitlements', { summary: 'Lists what may be done, and why.', query, answer: spokenPage }, list),
    {
      method: 'POST',
      path: '/entitlements/check',
      scopes: ['read'],
      reads: true,
      about: {
        summary: 'Says whether a model or a feature may be used, or more of what is limited. Asks nothing of credits.',
        body: check,
        answer: decision,
      },
      answer: judge,
    },
  ];
}
