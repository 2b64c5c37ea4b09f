/**
 * What becomes of each path and method of OpenAI's API, as a page: `docs/endpoints.md`. What is served is asked of the routes that
 * serve it; all else is refused, and the page says why. Where OpenAI's description does not lie beside the project, the page
 * itself is the list of paths.
 *
 *   node scripts/endpoints.ts            compares; exit 1 when they differ
 *   node scripts/endpoints.ts --write    writes
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ENDPOINTS } from '../src/gateway/endpoints.ts';
import type { GatewayDeps } from '../src/gateway/pipeline.ts';
import { registerGateway } from '../src/gateway/routes.ts';
import { createHttp } from '../src/http.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLogger } from '../src/observe/log.ts';
import { GROUPS, type Group } from './endpoint-groups.ts';

const PAGE = join(import.meta.dirname, '../docs/endpoints.md');
const DESCRIPTION = join(import.meta.dirname, '../../shared/openai/openapi.yaml');
/** WebSockets, which OpenAI's description leaves out. */
const BEYOND = [
  { method: 'GET', path: '/v1/realtime' },
  { method: 'GET', path: '/v1/responses' },
];
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** - `metered`: held for, forwarded and charged. `owned`: answered of what the account itself has, and free. `refused`: unknown_url. */
export type Fate = 'metered' | 'owned' | 'refused';

export interface Row {
  method: string;
  /** With `/v1`, and its parameters as `{name}`; a query stays, as OpenAI's description has it. */
  path: string;
  fate: Fate;
}

interface Served {
  method: string;
  /** As the router knows it. */
  pattern: string;
  fate: Exclude<Fate, 'refused'>;
}

/** Every path and method of OpenAI's API, and what becomes of each. */
export async function endpointRows(): Promise<Row[]> {
  const served = await servedRoutes();
  return listed().map(({ method, path }) => {
    const found = served.find((route) => route.method === method && matches(route.pattern, path.split('?', 1)[0]!));
    return { method, path, fate: found?.fate ?? 'refused' };
  });
}

/**
 * The routes under `/v1`, as the gateway registers them: one in the table of endpoints is metered. What the catalog declares is
 * none of them: it is looked up with each request.
 */
async function servedRoutes(): Promise<Served[]> {
  const served: Served[] = [];
  const limits = { maxBodyBytes: 1, headersTimeoutMs: 1_000, requestTimeoutMs: 1_000 };
  const app = createHttp({ ...limits, clock: systemClock, log: silentLogger });
  app.addHook('onRoute', ({ method, url, config }) => {
    if (!url.startsWith('/v1/') || (config as { declared?: boolean } | undefined)?.declared) return;
    const fate = ENDPOINTS.has(url) ? 'metered' : 'owned';
    for (const one of [method].flat()) served.push({ method: one, pattern: url, fate });
  });
  // No request comes: what they need of the gateway is never asked for.
  await registerGateway(app, {} as GatewayDeps);
  await app.ready();
  await app.close();
  return served;
}

/** Whether a path of OpenAI's is one that a route takes. A route's last part may be `*`, which takes all that follows. */
function matches(pattern: string, path: string): boolean {
  const [parts, given] = [pattern.split('/'), path.split('/')];
  if (parts.at(-1) !== '*' && parts.length !== given.length) return false;
  return parts.every(
    (part, at) => part === '*' || (given[at] !== undefined && (part.startsWith(':') || part === given[at])),
  );
}

function listed(): Pick<Row, 'method' | 'path'>[] {
  const rows = existsSync(DESCRIPTION)
    ? [...described(readFileSync(DESCRIPTION, 'utf8')), ...BEYOND]
    : written(readFileSync(PAGE, 'utf8'));
  return rows.sort((a, b) => compare(a.path, b.path) || METHODS.indexOf(a.method) - METHODS.indexOf(b.method));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** The paths and methods of an OpenAPI description, by its lines: to parse all of it takes seconds. */
function described(yaml: string): Pick<Row, 'method' | 'path'>[] {
  const section = /^paths:\n([\s\S]*?)^\S/m.exec(yaml)?.[1];
  if (section === undefined) throw new Error('the description has no paths');
  const rows: Pick<Row, 'method' | 'path'>[] = [];
  let path = '';
  for (const [, found, method] of section.matchAll(/^ {2}'?(\/[^\n']*?)'?:$|^ {4}(get|post|put|patch|delete):$/gm)) {
    if (found !== undefined) path = `/v1${found}`;
    else rows.push({ method: method!.toUpperCase(), path });
  }
  return rows;
}

/** The same, of the page. */
function written(page: string): Pick<Row, 'method' | 'path'>[] {
  return [...page.matchAll(/^\| (\w+) \| `([^`]+)` \|/gm)].map(([, method, path]) => ({
    method: method!,
    path: path!,
  }));
}

const HEAD = `<!-- Made by \`npm run endpoints\` from OpenAI's API description and the routes that serve it. Read it, do not edit it. -->

# What is served of OpenAI's API

Deny by default: a path or method that is not metered, and not answered of what the account itself has, is answered with
\`404 unknown_url\` in OpenAI's form, never with 405, and reaches no provider. \`test/gateway/endpoints.test.ts\` calls every row.

| | |
|---|---|
| **metered** | held for, forwarded, and charged |
| **owned** | answered of what belongs to the account, and free; what is not its own does not exist for it |
| **passed through** | none by itself: what the catalog declares, at a price a request ([pass-through.md](pass-through.md)), but not below what is served here |
| **refused** | \`404 unknown_url\` |

Paths are taken as they are written: another case, a slash too many, an encoded slash or a dot is another path, and unknown. A
query such as \`?beta=true\` changes nothing.

**Files, uploads, batches, realtime**, vector stores, containers, conversations, fine-tuning, assistants, evals and videos are
refused: each section below says why, and what serves instead where something does.
`;

/** The page. Throws when a path belongs to no group: then it is not said why it is refused. */
export function endpointsPage(rows: readonly Row[]): string {
  const byGroup = Map.groupBy(rows, groupOf);
  const sections = GROUPS.flatMap((group) => {
    const own = byGroup.get(group) ?? [];
    return own.length === 0 ? [] : [section(group, own)];
  });
  return [HEAD, ...sections].join('\n');
}

function groupOf({ path }: Row): Group {
  const group = GROUPS.find(({ prefixes }) =>
    prefixes.some((prefix) => path === prefix || path.startsWith(`${prefix}/`) || path.startsWith(`${prefix}?`)),
  );
  if (group === undefined) throw new Error(`${path} belongs to no group: add one to scripts/endpoint-groups.ts`);
  return group;
}

function section({ title, refused }: Group, rows: readonly Row[]): string {
  const isRefused = rows.some(({ fate }) => fate === 'refused');
  if (isRefused && refused === null) throw new Error(`${title}: say why what is refused of it is refused`);
  const lines = rows.map(
    ({ method, path, fate }) => `| ${method} | \`${path}\` | ${fate === 'refused' ? fate : `**${fate}**`} |`,
  );
  return [
    `## ${title}`,
    ...(isRefused ? ['', `Refused: ${refused}`] : []),
    '',
    '| method | path | |',
    '|---|---|---|',
    ...lines,
    '',
  ].join('\n');
}

async function main(write: boolean): Promise<number> {
  const page = endpointsPage(await endpointRows());
  const name = relative(process.cwd(), PAGE);
  if (write) {
    writeFileSync(PAGE, page);
    console.log(`wrote ${name}`);
    return 0;
  }
  const isSame = existsSync(PAGE) && readFileSync(PAGE, 'utf8') === page;
  console.log(
    isSame
      ? `${name} is what the gateway serves`
      : `${name} differs from what the gateway serves. Run npm run endpoints, and commit it.`,
  );
  return isSame ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.includes('--write'));
