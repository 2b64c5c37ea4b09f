/**
 * Plans, packs, operations and pass-through routes: each change is a new version of the entry, effective at the next request on
 * every gateway.
 */
import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import {
  type EntryKind,
  entryName,
  type ModelEntry,
  operationEntry,
  type PlanEntry,
  packEntry,
  planEntry,
} from '../catalog/file.ts';
import { passthroughEntry, passthroughName, shapeOf } from '../catalog/passthrough.ts';
import { questionPlan } from '../catalog/sanity.ts';
import { sharedPrices } from '../catalog/sold.ts';
import { changeEntry, entryVersions, type KeptVersion, latestEntries, lockCatalog } from '../catalog/store.ts';
import type { Db } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { audited, inForce } from './audited.ts';
import { confirmation, confirmed, numbersAsText, refuseQuestions } from './prices.ts';
import { type AdminDeps, actorOf, noSuch } from './shared.ts';

/** Names may hold slashes, so they are the rest of the path. */
interface ByName {
  Params: { '*': string };
}

type Kind = Exclude<EntryKind, 'model'>;

/** What a `PUT` of each takes. */
export const ENTRY_FORMS: Record<Kind, z.ZodType<object>> = {
  plan: planEntry,
  pack: packEntry,
  operation: operationEntry,
  passthrough: passthroughEntry,
};
const FOLDERS: Record<Kind, string> = {
  plan: '/plans',
  pack: '/packs',
  operation: '/operations',
  passthrough: '/passthrough',
};

const WORDS: Record<Kind, string> = {
  plan: 'plan',
  pack: 'pack',
  operation: 'operation',
  passthrough: 'pass-through route',
};

export function registerCatalog(scope: FastifyInstance, { pool }: AdminDeps): void {
  for (const [kind, folder] of Object.entries(FOLDERS) as [Kind, string][]) {
    const path = `${folder}/{${kind}}` as `/${string}`;
    const list = about({ summary: `Lists the ${WORDS[kind]}s.`, answer: answers.catalogEntryPage });
    scope.get(folder, list, async () => {
      const entries = (await latestEntries(pool, kind)).filter(({ deleted }) => !deleted);
      const data = entries.map(({ name, version, body }) => ({ [kind]: name, version, ...(body as object) }));
      return { data, has_more: false, next_cursor: null };
    });

    const show = about({ path, summary: `Shows the ${WORDS[kind]} as it is in force.`, answer: answers.catalogEntry });
    scope.get<ByName>(`${folder}/*`, show, async (request) => {
      const name = request.params['*'];
      const versions = isName(kind, name) ? await entryVersions(pool, kind, name) : [];
      const current = versions.find(({ waits }) => !waits);
      if (current === undefined || current.deleted) throw noSuch(kind, name);
      return present(kind, name, current);
    });

    const put = about({
      path,
      summary: `Makes the ${WORDS[kind]}, or a new version of it.`,
      query: kind === 'plan' ? confirmation : undefined,
      body: ENTRY_FORMS[kind],
      answer: answers.catalogEntry,
    });
    scope.put<ByName>(`${folder}/*`, put, async (request) => {
      const name = request.params['*'];
      if (!isName(kind, name)) throw invalidField(kind, NAMES[kind] ?? 'must have 1 to 200 bytes, and no NUL');
      const body = readInput(ENTRY_FORMS[kind], numbersAsText(request.body));
      if (kind === 'plan' && !confirmed(request.query)) await refuseDoubtfulPlan(name, body as PlanEntry);
      const change = {
        kind,
        name,
        author: actorOf(request),
        at: null,
        fields: null,
        make: () => body as KeptVersion['body'],
      };
      const target = `${kind}:${name}`;
      return audited(pool, request, `${kind}.put`, target, async (db) => {
        const before = await inForce(db, kind, name);
        await refuseSharedPrice(db, { kind, name, body });
        if (kind === 'passthrough') await refuseSameRoute(db, name);
        const after = present(kind, name, await changeEntry(db, change));
        return { answer: after, target, before: before && present(kind, name, before), after };
      });
    });
  }

  /** Throws `invalid_request` that asks about prices of a plan which are likely a slip. */
  async function refuseDoubtfulPlan(name: string, plan: PlanEntry): Promise<void> {
    const [before] = (await entryVersions(pool, 'plan', name)).filter(({ waits }) => !waits);
    const models = new Map((await latestEntries(pool, 'model')).map((model) => [model.name, model.body as ModelEntry]));
    const previous = before === undefined || before.deleted ? null : (before.body as Pick<PlanEntry, 'prices'>);
    refuseQuestions(questionPlan(plan, previous, (model) => models.get(model) ?? null));
  }
}

/** Throws `conflict` when another plan or pack is bought with one of its prices of Stripe: which one was paid for could not be told. */
async function refuseSharedPrice(db: Db, entry: { kind: Kind; name: string; body: object }): Promise<void> {
  if (entry.kind !== 'plan' && entry.kind !== 'pack') return;
  await lockCatalog(db);
  const inForce = async (kind: Kind) =>
    (await latestEntries(db, kind)).filter(({ deleted }) => !deleted).map((one) => ({ kind, ...one }));
  const others = [...(await inForce('plan')), ...(await inForce('pack'))];
  const label = `${entry.kind} "${entry.name}"`;
  const shared = sharedPrices([...others.filter((one) => `${one.kind} "${one.name}"` !== label), entry]);
  const own = shared.find((one) => one.entry === label);
  if (own === undefined) return;
  const message = `The price ${own.price} buys the ${own.owner} already. A price buys one thing: take it from that first, or make another at Stripe.`;
  throw new TollgateError('conflict', { message });
}

/** Throws `conflict` when another route takes the same requests: the first would go on to do so. */
async function refuseSameRoute(db: Db, name: string): Promise<void> {
  await lockCatalog(db);
  const others = (await latestEntries(db, 'passthrough')).filter((one) => !one.deleted && one.name !== name);
  const same = others.find((one) => shapeOf(one.name) === shapeOf(name));
  if (same === undefined) return;
  throw new TollgateError('conflict', { message: `The route "${same.name}" takes the same requests: change that.` });
}

/** What a name must be, where not any will do. */
const NAMES: Partial<Record<Kind, string>> = {
  passthrough:
    'must be a method, a space and a path such as /v1/custom/{id}, not one that the gateway serves or refuses itself',
};

function isName(kind: Kind, name: string): boolean {
  if (kind === 'passthrough') return passthroughName.safeParse(name).success;
  return entryName.safeParse(name).success && !name.includes('\0');
}

function present(kind: Kind, name: string, { version, body, source, effectiveAt }: KeptVersion) {
  return { [kind]: name, version, source, effective_at: effectiveAt.toISOString(), ...body };
}
