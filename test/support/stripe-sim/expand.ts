/** `expand[]`: ids in an answer replaced by the objects they name, and parts that Stripe leaves out unless asked for. */
import { StripeFault } from './fault.ts';
import { copyOf } from './parts.ts';

type Node = Record<string, unknown>;
type Find = (kind: string, id: string) => object | undefined;

export class Expander {
  readonly #links = new Map<string, string>();
  readonly #parts = new Map<string, (object: Node) => unknown>();

  /** `field` (dots go into nested hashes without an `object`) of objects of `kind` holds ids of `ofKind`. */
  link(kind: string, field: string, ofKind: string): void {
    this.#links.set(`${kind}.${field}`, ofKind);
  }

  /** `field` of objects of `kind` is left out of answers; when expanded, `make` says what it holds. */
  part(kind: string, field: string, make: (object: Node) => unknown): void {
    this.#parts.set(`${kind}.${field}`, make);
  }

  /** A copy of the answer with each path expanded. Fault 400 for a path that cannot be expanded. */
  expand(answer: unknown, paths: string[], find: Find): unknown {
    if (paths.length === 0) return answer;
    const copy = copyOf(answer);
    for (const path of paths) this.#walk(copy as Node, path.split('.'), '', '', { path, find });
    return copy;
  }

  #walk(at: Node, segments: string[], kind: string, prefix: string, asked: { path: string; find: Find }): void {
    const owner = typeof at.object === 'string' ? at.object : kind;
    const within = typeof at.object === 'string' ? '' : prefix;
    const [segment, ...rest] = segments as [string, ...string[]];
    const name = within === '' ? segment : `${within}.${segment}`;
    const make = this.#parts.get(`${owner}.${name}`);
    if (make !== undefined && at[segment] === undefined) at[segment] = copyOf(make(at));
    at[segment] = this.#opened(at[segment], `${owner}.${name}`, asked);
    const value = at[segment];
    if (rest.length === 0 || value === null) return;
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === 'object' && child !== null) this.#walk(child as Node, rest, owner, name, asked);
    }
  }

  #opened(value: unknown, place: string, asked: { path: string; find: Find }): unknown {
    if (Array.isArray(value)) return value.map((item) => this.#opened(item, place, asked));
    if (value === null || typeof value === 'object') return value;
    const kind = this.#links.get(place);
    if (typeof value !== 'string' || kind === undefined) {
      if (value === undefined && kind !== undefined) return null;
      throw new StripeFault(`This property cannot be expanded (${asked.path}).`, { param: 'expand' });
    }
    return copyOf(asked.find(kind, value) ?? value);
  }
}
