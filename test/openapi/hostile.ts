/** Input that a schema of the description refuses, and input that it takes. */

export interface Schema {
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
}

/** Where in a body something is, and what is put there. */
export interface Case {
  path: (string | number)[];
  value: unknown;
}

export const MEGABYTE = 'm'.repeat(1_000_000);
export const ABSENT = Symbol('absent');
const MOST_ALIKE = 3;
const DEEP = JSON.parse('['.repeat(2_000) + ']'.repeat(2_000)) as unknown;
const ODD_TEXTS = ['\0', 'a\0b', '\ud800'];
/** Text that holds a decimal. */
const DECIMALS = ['credits', 'signed credits', 'usd', 'multiple', 'money'];
/** Of these, that type of JSON is none. */
const ODD_TYPES: Record<string, unknown[]> = {
  string: [5, true, {}, ['a']],
  integer: ['x', true, {}, [1], 1.5, '0x1F', '1e19', 'NaN'],
  number: ['x', true, {}, [1]],
  boolean: ['true', 1, {}, []],
  object: ['x', 5, true, ['a'], DEEP],
  array: ['x', 5, true, { 0: 'a' }],
};

/** The alternatives of a schema that are not null, and whether null is one. */
function split(schema: Schema): { some: Schema[]; nullable: boolean } {
  const all = schema.anyOf ?? [schema];
  const isNull = (one: Schema): boolean => one.type === 'null';
  const some = all.filter((one) => !isNull(one)).flatMap((one) => (one.anyOf === undefined ? [one] : split(one).some));
  const nullable = all.some((one) => isNull(one) || (one.anyOf !== undefined && split(one).nullable));
  return { some, nullable };
}

/** Something that the schema takes: of an object, what it must have. */
export function validOf(schema: Schema): unknown {
  const one = split(schema).some[0] ?? schema;
  if (one.const !== undefined) return one.const;
  if (one.enum !== undefined) return one.enum[0];
  if (DECIMALS.includes(one.format!)) return '1';
  if (one.format === 'date-time') return '2090-01-31T00:00:00Z';
  if (one.format === 'email') return 'a@example.com';
  switch (typeof one.type === 'object' ? one.type[0] : one.type) {
    case 'integer':
      return Math.max(one.minimum ?? 0, Math.min(one.maximum ?? 1, 1));
    case 'boolean':
      return true;
    case 'array':
      return one.items === undefined ? [] : [validOf(one.items)];
    case 'object':
      return Object.fromEntries((one.required ?? []).map((name) => [name, validOf(one.properties![name]!)]));
    default:
      return one.pattern?.includes('a-z]{3}') ? 'usd' : 'x1';
  }
}

/** What the schema refuses, at every place of it. */
export function hostileCases(schema: Schema, path: (string | number)[] = [], inside = false): Case[] {
  const { some, nullable } = split(schema);
  const cases: Case[] = [];
  const add = (...values: unknown[]): void => void cases.push(...values.map((value) => ({ path, value })));
  // What takes one of several forms is looked at as its first; that it takes the others is not hostile.
  const [one] = some;
  if (one === undefined || some.length > 1 || (one.type === undefined && one.enum === undefined)) return cases;
  if (inside && !nullable) add(null);
  if (DECIMALS.includes(one.format!)) {
    add(
      '',
      'x',
      '0.0000000000001',
      '10000000000000000000',
      1e19,
      '-10000000000000000000',
      '0x10',
      '1e3',
      ' 1',
      '١',
      'NaN',
    );
    add(true, {}, ['1'], '1\0');
    if (one.format !== 'signed credits') add('-1', -1);
    if (one.format !== 'usd') add('0.0000000001', 1e-10);
    return cases;
  }
  const type = typeof one.type === 'object' ? one.type.find((name) => name !== 'null')! : (one.type ?? 'string');
  if (one.enum !== undefined) add('nonsense', '', '__proto__', 'constructor', 5, {});
  else if (inside) add(...(ODD_TYPES[type] ?? []));
  if (type === 'integer') add((one.minimum ?? 0) - 1, (one.maximum ?? 0) + 1, 1e19, -1e19, '10000000000000000000');
  if (type === 'string' && one.enum === undefined) {
    add(...ODD_TEXTS);
    // Each costs as much as a thousand others: where a name is, and nowhere deeper.
    if (path.length === 1) add(MEGABYTE);
    if ((one.minLength ?? 0) > 0) add('');
    if (one.maxLength !== undefined) add('m'.repeat(one.maxLength + 1));
    if (one.format === 'date-time')
      add('', 'soon', '2090-13-01T00:00:00Z', '2090-02-30T00:00:00Z', '2090-01-01', '99999-01-01T00:00:00Z');
    if (one.format === 'email') add('x', 'a@', '@b');
  }
  if (type === 'array' && one.items !== undefined) cases.push(...hostileCases(one.items, [...path, 0], true));
  if (type === 'object') cases.push(...inObject(one, path));
  return cases;
}

function inObject(
  { properties = {}, required = [], additionalProperties: others }: Schema,
  path: Case['path'],
): Case[] {
  const cases: Case[] = required.map((name) => ({ path: [...path, name], value: ABSENT }));
  // A body takes no field that it does not know, whatever its schema says.
  if (others === false || path.length === 0)
    cases.push(...['nonsense', 'constructor', 'toString'].map((name) => ({ path: [...path, name], value: 1 })));
  // Of fields that are alike, as the prices of a table are, some will do.
  const alike = Map.groupBy(Object.entries(properties), ([, schema]) => JSON.stringify(schema));
  for (const [name, schema] of [...alike.values()].flatMap((fields) => fields.slice(0, MOST_ALIKE))) {
    cases.push(...hostileCases(schema, [...path, name], true));
  }
  if (typeof others === 'object') cases.push(...hostileCases(others, [...path, 'x'], true));
  return cases;
}

/** `body` with a case put in, and what must be around it. */
export function withCase(body: unknown, schema: Schema, { path, value }: Case): unknown {
  if (path.length === 0) return value;
  const [first, ...rest] = path as [string | number, ...(string | number)[]];
  const own = split(schema).some[0] ?? schema;
  const inner = (
    typeof first === 'number' ? own.items : (own.properties?.[first] ?? own.additionalProperties)
  ) as Schema;
  const base = body ?? validOf(own);
  const old = (base as Record<string, unknown>)[first];
  const put = rest.length === 0 ? value : withCase(old, inner, { path: rest, value });
  if (typeof first === 'number') return [put];
  const whole: Record<string, unknown> = { ...(base as object) };
  delete whole[first];
  return put === ABSENT ? whole : { ...whole, [first]: put };
}
