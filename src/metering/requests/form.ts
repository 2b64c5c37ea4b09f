/**
 * What all readers of forms have in common: multipart/form-data in which each field that bears on cost stands once, as a plain
 * field. Files are known by where they stand in the body, and read only as far as they bear on cost.
 */
import type { Json } from '../../lib/json.ts';
import { isReadAlike, REQUEST_FIELDS, type RequestEndpoint, useOf } from './field-uses.ts';
import { invalid } from './json-body.ts';
import type { Form, Span } from './types.ts';

export interface FormFields {
  /** The fields that bear on cost, as they would stand in JSON: all are text. */
  fields: Json;
  spans: ReadonlyMap<string, Span>;
  /** By name, without `[]`. */
  files: ReadonlyMap<string, readonly Span[]>;
  /** Of all fields that are read by the model. */
  inputBytes: number;
}

/** What is sent as a file at each endpoint, and which of its other fields are lists. */
export interface FormShape {
  endpoint: RequestEndpoint;
  /** Each with how many there may be. */
  files: Readonly<Record<string, number>>;
  lists: readonly string[];
}

/** Reads the fields that bear on cost. Throws `invalid_request` with `param`. */
export function readFields({ parts }: Form, shape: FormShape): FormFields {
  const fields: Json = {};
  const spans = new Map<string, Span>();
  const files = new Map<string, Span[]>();
  const seen = new Map<string, string>();
  let inputBytes = 0;
  for (const { name, isFile, text, span } of parts) {
    const field = baseOf(name);
    refuseRepeated(name, field, seen, shape);
    const isWanted = Object.hasOwn(shape.files, field);
    const use = useOf(shape.endpoint, field);
    if (isFile !== isWanted && (use !== null || isWanted)) {
      throw invalid(
        field,
        isWanted ? 'must be sent as a file, with a name' : 'must be sent as a field, and not as a file',
      );
    }
    if (use === 'refused') throw invalid(field, REQUEST_FIELDS[shape.endpoint].refused[field]!);
    if (isFile) {
      const list = files.get(field) ?? [];
      if (list.push(span) > (shape.files[field] ?? 1))
        throw invalid(field, `at most ${shape.files[field] ?? 1} may be sent`);
      files.set(field, list);
      continue;
    }
    // What no table knows may be read by a model, as far as is known here.
    if (use === 'input' || use === null) inputBytes += span.end - span.start;
    if (use === null || use === 'free' || name !== field) continue;
    if (text === null) throw invalid(field, 'it is too long');
    fields[field] = text;
    spans.set(field, span);
  }
  return { fields, spans, files, inputBytes };
}

/** Without what clients add to the names of lists, and of fields within objects. */
function baseOf(name: string): string {
  const bracket = name.indexOf('[');
  return bracket < 0 ? name : name.slice(0, bracket);
}

/**
 * A field that bears on cost, or says whose the request is, given twice, in another case, or as part of a list that it is not, is read differently by different
 * parsers. Lists repeat, in one way of writing them.
 */
function refuseRepeated(name: string, field: string, seen: Map<string, string>, shape: FormShape): void {
  const plain = field.toUpperCase().toLowerCase();
  const bears = isReadAlike(shape.endpoint, plain);
  if (bears && field !== plain) throw invalid(plain, 'the name of the field must be spelled in small letters');
  const isList = shape.lists.includes(field) || (shape.files[field] ?? 1) > 1;
  if (bears && name !== field && !(isList && name === `${field}[]`)) throw invalid(field, 'it is no list');
  const before = seen.get(field);
  if (before !== undefined && (name === field || before !== name) && (bears || name === before)) {
    throw invalid(field, 'the field is given twice');
  }
  seen.set(field, name);
}

/** A flag, as forms write it; absent or empty, it is false. Throws `invalid_request`. */
export function formFlag(fields: Json, field: string): boolean {
  const value = fields[field] ?? '';
  if (value === 'true' || value === 'True' || value === '1') return true;
  if (value === '' || value === 'false' || value === 'False' || value === '0') return false;
  throw invalid(field, 'must be true or false');
}

/** A whole number, as forms write it; absent or empty, `undefined`. Throws `invalid_request`. */
export function formCount(fields: Json, field: string): number | undefined {
  const value = (fields[field] ?? '') as string;
  if (value === '') return undefined;
  if (!/^\d{1,9}$/.test(value)) throw invalid(field, 'must be a whole number');
  return Number(value);
}
