/** Models: each change is a new version, effective at the next request on every gateway. Their prices: prices.ts. */
import type { FastifyInstance } from 'fastify';
import { entryName, modelEntry } from '../catalog/file.ts';
import { changeEntry, entryVersions, type KeptVersion } from '../catalog/store.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { audited, inForce } from './audited.ts';
import {
  confirmation,
  confirmed,
  newVersion,
  numbersAsText,
  presentPrice,
  preview,
  previewPrice,
  priceChange,
  refuseDoubts,
} from './prices.ts';
import { type AdminDeps, actorOf, noSuch } from './shared.ts';

/** Names of models may hold slashes, so they are the rest of the path, and what is asked about them is at its end. */
interface ByName {
  Params: { '*': string };
}

const PRICES = '/prices';
const PREVIEW = '/prices/preview';

const CALLS = {
  show: about(
    { path: '/models/{model}', summary: 'Shows a model as it is in force.', answer: answers.model },
    {
      path: '/models/{model}/prices',
      summary: 'Lists the prices that a model had, has and will have.',
      answer: answers.pricePage,
    },
  ),
  put: about({
    path: '/models/{model}',
    summary: 'Makes a model, or a new version of it.',
    query: confirmation,
    body: modelEntry,
    answer: answers.model,
  }),
  price: about(
    {
      path: '/models/{model}/prices',
      summary: 'Sets a new price or cost of a model, now or at its instant.',
      query: confirmation,
      body: newVersion,
      answer: answers.price,
      statuses: [201],
    },
    {
      path: '/models/{model}/prices/preview',
      summary: 'Rates recent requests at another price. Changes nothing.',
      body: preview,
      answer: answers.pricePreview,
    },
  ),
};

export function registerModels(scope: FastifyInstance, deps: AdminDeps): void {
  const { pool } = deps;

  scope.get<ByName>('/models/*', CALLS.show, async (request) => {
    const path = request.params['*'];
    const name = before(path, PRICES) ?? path;
    const versions = isName(name) ? await entryVersions(pool, 'model', name) : [];
    const current = versions.find(({ waits }) => !waits);
    if (current === undefined || current.deleted) throw noSuch('model', name);
    if (name === path) return presentModel(name, current);
    return { data: versions.filter(({ deleted }) => !deleted).map(presentPrice), has_more: false, next_cursor: null };
  });

  scope.put<ByName>('/models/*', CALLS.put, async (request) => {
    const name = request.params['*'];
    if (!isName(name)) throw invalidField('model', `must have 1 to 200 bytes and not end in ${PRICES} or ${PREVIEW}`);
    const entry = readInput(modelEntry, numbersAsText(request.body));
    const confirm = confirmed(request.query);
    const make = (base: KeptVersion | null) => {
      if (!confirm) refuseDoubts(entry, base?.body ?? null);
      return entry;
    };
    const change = { kind: 'model', name, author: actorOf(request), at: null, fields: null, make } as const;
    const target = `model:${name}`;
    return audited(pool, request, 'model.put', target, async (db) => {
      const before = await inForce(db, 'model', name);
      const after = presentModel(name, await changeEntry(db, change));
      return { answer: after, target, before: before && presentModel(name, before), after };
    });
  });

  scope.post<ByName>('/models/*', CALLS.price, async (request, reply) => {
    const path = request.params['*'];
    const name = before(path, PREVIEW) ?? before(path, PRICES);
    if (name === null || !isName(name)) throw noSuch('model', path);
    if (path.endsWith(PREVIEW)) return previewPrice(deps, name, request.body);
    const change = priceChange(name, request.body, confirmed(request.query));
    const target = `model:${name}`;
    const made = await audited(pool, request, 'model.price', target, async (db) => {
      const before = await inForce(db, 'model', name);
      const after = presentPrice(await changeEntry(db, { kind: 'model', name, author: actorOf(request), ...change }));
      return { answer: after, target, before: before && presentPrice(before), after };
    });
    return reply.status(201).send(made);
  });
}

/** What stands before the end of a path; `null`: that is not its end. */
function before(path: string, end: string): string | null {
  return path.endsWith(end) ? path.slice(0, -end.length) : null;
}

function isName(name: string): boolean {
  const isFree = !name.endsWith(PRICES) && !name.endsWith(PREVIEW);
  return entryName.safeParse(name).success && !name.includes('\0') && isFree;
}

function presentModel(name: string, { version, body, source, effectiveAt }: KeptVersion) {
  return { model: name, version, source, effective_at: effectiveAt.toISOString(), ...body };
}
