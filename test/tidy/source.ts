/** Reads and parses sources for the tidy tests. A breach is told as `path:line: what is wrong`. */
import { globSync, readFileSync } from 'node:fs';
import { parseAst } from 'vitest/node';

/** A node of the syntax tree, as far as the rules look at it. */
export interface Node {
  type: string;
  start: number;
  end: number;
  [field: string]: unknown;
}

export interface Source {
  /** From the root of the repository, with forward slashes. */
  path: string;
  text: string;
  /** Every node of the file, parents before children. */
  nodes: Node[];
}

export const ROOT = new URL('../../', import.meta.url);

export function parse(path: string, text: string): Source {
  const nodes: Node[] = [];
  if (path.endsWith('.ts')) collect(parseAst(text, { lang: 'ts', sourceType: 'module' }), nodes);
  return { path, text, nodes };
}

/** The files of the repository that match a pattern. */
export function read(...patterns: string[]): Source[] {
  const paths = globSync(patterns, { cwd: ROOT }).map((path) => path.replaceAll('\\', '/'));
  return paths.sort().map((path) => parse(path, readFileSync(new URL(path, ROOT), 'utf8')));
}

export function breach(source: Source, at: { start: number }, what: string): string {
  return `${source.path}:${lineOf(source.text, at.start)}: ${what}`;
}

export function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

export function isIdentifier(value: unknown, name: string): boolean {
  return isNode(value) && value.type === 'Identifier' && value.name === name;
}

function collect(value: unknown, into: Node[]): void {
  if (Array.isArray(value)) {
    for (const item of value) collect(item, into);
  } else if (typeof value === 'object' && value !== null) {
    if (isNode(value)) into.push(value);
    for (const field of Object.values(value)) collect(field, into);
  }
}
