/** Who may import whom: DESIGN's diagram, and what may not be imported in a circle. */
import { posix } from 'node:path';
import { breach, isNode, type Node, type Source } from './source.ts';

/** What stands right may import what stands left; what stands together may not import one another. */
const LAYERS = [
  ['lib'],
  ['errors', 'config', 'observe'],
  ['openapi'],
  ['db'],
  ['ledger'],
  ['catalog'],
  ['accounts'],
  ['entitlements', 'metering'],
  ['consumption'],
  ['payments'],
  ['gateway', 'customer', 'admin', 'console', 'workers'],
  ['http', 'bootstrap'],
  ['app'],
  ['server'],
  ['cli'],
];

/** `upstream/` stands aside: it knows nothing of money. */
const UPSTREAM_IMPORTS = ['lib', 'errors', 'config', 'observe'];
const UPSTREAM_IMPORTERS = ['gateway', 'app'];

/** Packages with one home: a folder under src/. */
const HOMES: Record<string, string> = { undici: 'upstream', stripe: 'payments', ioredis: 'entitlements/limits' };

interface Import {
  node: Node;
  /** What is imported: a path from the root of the repository, or a package; null when it is computed. */
  target: string | null;
}

export function importRule(sources: Source[]): string[] {
  return sources.flatMap((source) =>
    importsOf(source).flatMap(({ node, target }) => {
      const reason = target === null ? 'write the path of an import as a literal' : refusal(source.path, target);
      return reason === null ? [] : [breach(source, node, reason)];
    }),
  );
}

/** One breach for each circle, at the import that closes it. A worker is a program of its own and closes none. */
export function importCycles(sources: Source[]): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const found: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (source: Source, trail: string[]): void => {
    state.set(source.path, 'open');
    for (const { node, target } of importsOf(source)) {
      const next = target === null ? undefined : byPath.get(target);
      if (next === undefined || node.type === 'NewExpression') continue;
      const here = [...trail, source.path];
      if (state.get(next.path) === 'open') {
        const circle = [...here.slice(here.indexOf(next.path)), next.path];
        found.push(breach(source, node, `imports in a circle: ${circle.join(' → ')}`));
      } else if (!state.has(next.path)) {
        visit(next, here);
      }
    }
    state.set(source.path, 'done');
  };
  for (const source of sources) if (!state.has(source.path)) visit(source, []);
  return found;
}

/** Why `path` may not import `target`, or null when it may. */
function refusal(path: string, target: string): string | null {
  const from = layerOf(path);
  if (!target.startsWith('src/')) {
    const home = HOMES[target.split('/')[0] ?? ''];
    return home === undefined || path.startsWith(`src/${home}/`)
      ? null
      : `only src/${home} may import the package "${target}"`;
  }
  const to = layerOf(target);
  if (from === to) return null;
  if (to === 'upstream') {
    return UPSTREAM_IMPORTERS.includes(from)
      ? null
      : `${from} may not import upstream: only ${UPSTREAM_IMPORTERS.join(' and ')} may`;
  }
  if (from === 'upstream') {
    return UPSTREAM_IMPORTS.includes(to) ? null : `upstream may not import ${to}: only ${UPSTREAM_IMPORTS.join(', ')}`;
  }
  const [left, right] = [rankOf(to), rankOf(from)];
  if (left === -1 || right === -1)
    return `${left === -1 ? to : from} has no place in the layers of test/tidy/imports.ts`;
  return left < right ? null : `${from} may not import ${to}: it stands ${left === right ? 'beside' : 'right of'} it`;
}

/** The folder under src/, or the name of a file directly in it: `config-schema.ts` is part of `config`. */
function layerOf(path: string): string {
  return /^src\/([a-z]+)/.exec(path)?.[1] ?? path;
}

function rankOf(layer: string): number {
  return LAYERS.findIndex((names) => names.includes(layer));
}

/** Static imports and exports, `import()`, types by `import('…')`, and workers by `new URL('./….ts', import.meta.url)`. */
function importsOf(source: Source): Import[] {
  return source.nodes.flatMap((node) => {
    const from = importedBy(node);
    if (from === undefined) return [];
    const name = isNode(from) && from.type === 'Literal' && typeof from.value === 'string' ? from.value : null;
    return [{ node, target: name?.startsWith('.') ? posix.join(posix.dirname(source.path), name) : name }];
  });
}

/** The node that says what is imported; undefined when `node` imports nothing. */
function importedBy(node: Node): unknown {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'TSImportType':
      return node.source;
    case 'ExportNamedDeclaration':
      return node.source ?? undefined;
    case 'NewExpression': {
      const [url] = node.arguments as Node[];
      const names = isNode(node.callee) && node.callee.name === 'URL' && typeof url?.value === 'string';
      return names && (url.value as string).endsWith('.ts') ? url : undefined;
    }
    default:
      return undefined;
  }
}
