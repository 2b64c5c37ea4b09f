/** An API as an OpenAPI 3.1 document, made of what its routes carry. Pure. */
import { z } from 'zod';
import { ERRORS, type ErrorCode } from '../errors.ts';
import type { About } from './about.ts';

/** An API as a whole. */
export interface Api {
  title: string;
  /** What it is for, and which key it takes. */
  description: string;
  /** Before every path. */
  prefix: string;
  /** Headers that each of its calls reads, with what they say; none but the key's where it is not given. */
  headers?: Readonly<Record<string, string>>;
  /** What any of its calls may be refused with, whatever it is about. */
  errors: readonly ErrorCode[];
}

/** A call, where its route stands. */
export interface Call {
  method: string;
  /** As the document writes it: `/accounts/{id}`. */
  path: string;
  scopes: readonly string[];
  about: About;
}

type Json = Record<string, unknown>;
type Components = Record<'schemas' | 'responses', Json>;

const OF_BODIES: readonly ErrorCode[] = ['invalid_json', 'request_too_large'];
const OF_WRITES: readonly ErrorCode[] = ['conflict', 'reference_reused'];

/** The document. Schemas with an id are its components; bodies are described as they are sent, answers as they come. */
export function documentOf(api: Api, calls: readonly Call[]): Json {
  const components: Components = { schemas: { Error: ERROR }, responses: {} };
  const paths: Record<string, Json> = {};
  const inOrder = calls.toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  for (const call of inOrder) {
    paths[call.path] ??= {};
    paths[call.path]![call.method.toLowerCase()] = operationOf(api, call, components);
  }
  return {
    openapi: '3.1.0',
    info: { title: api.title, description: api.description, version: '1' },
    servers: [{ url: api.prefix }],
    paths,
    components: { ...components, securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
  };
}

function operationOf(api: Api, { method, path, scopes, about }: Call, components: Components): Json {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const writes = method !== 'GET';
  const errors: ErrorCode[] = ['invalid_request', ...api.errors, ...(about.errors ?? [])];
  if (names.length > 0) errors.push('not_found');
  if (about.body !== undefined) errors.push(...OF_BODIES);
  if (writes) errors.push(...OF_WRITES);
  return {
    operationId: `${method.toLowerCase()}${path.replace(/\W+(\w)/g, (_, first: string) => first.toUpperCase()).replace('}', '')}`,
    summary: about.summary,
    tags: [tagOf(path)],
    // One of a key's scopes will do.
    security: scopes.length === 0 ? [{ key: [] }] : scopes.map((scope) => ({ key: [scope] })),
    parameters: [
      ...names.map(pathParameter),
      ...queryParameters(about.query, components),
      ...Object.entries({ ...api.headers, ...about.headers }).map(headerParameter),
    ],
    ...(about.body === undefined ? {} : { requestBody: bodyOf(about.body, components) }),
    responses: { ...answersOf(about, components), ...refusalsOf(errors, components) },
  };
}

/** What a call is about: of an account, what of it. */
function tagOf(path: string): string {
  const [first, second] = path.split('/').filter((part) => part !== '' && !part.startsWith('{'));
  return first === 'accounts' && second !== undefined ? second : first!;
}

function pathParameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string' } };
}

function headerParameter([name, description]: [string, string]): Json {
  return { name, in: 'header', description, schema: { type: 'string' } };
}

function queryParameters(query: z.ZodType | undefined, components: Components): Json[] {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(query, 'input', components) as {
    properties?: Record<string, unknown>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema,
  }));
}

function bodyOf(body: z.ZodType, components: Components): Json {
  const schema = schemaOf(body, 'input', components);
  const required = ((schema.required as unknown[] | undefined) ?? []).length > 0;
  return { required, content: { 'application/json': { schema } } };
}

function answersOf({ statuses = [200], answer, alsoAs }: About, components: Components): Json {
  const content = {
    'application/json': { schema: schemaOf(answer, 'output', components) },
    ...(alsoAs === undefined ? {} : { [alsoAs]: { schema: { type: 'string' } } }),
  };
  const repeated = statuses.length > 1 ? 'The same thing, which was there already.' : 'Done.';
  return Object.fromEntries(
    statuses.map((status) => [status, { description: status === 201 ? 'Made.' : repeated, content }]),
  );
}

/** The refusals by their status, as components that many calls share: what the registry says of each. */
function refusalsOf(codes: readonly ErrorCode[], { responses }: Components): Json {
  const byStatus = Map.groupBy(new Set<ErrorCode>([...codes, 'internal_error']), (code) => ERRORS[code].status);
  const content = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } };
  return Object.fromEntries(
    [...byStatus].map(([status, some]) => {
      const name = [status, ...some].join('.');
      responses[name] = {
        description: some.map((code) => `\`${code}\`: ${ERRORS[code].message}`).join('\n\n'),
        content,
      };
      return [status, { $ref: `#/components/responses/${name}` }];
    }),
  );
}

/** A schema as JSON Schema; what of it has an id goes among the components. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output', components: Components): Json {
  const {
    $schema: _,
    $defs: named = {},
    ...own
  } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      // What answers may gain in a later release is no breach.
      if (io === 'output') delete jsonSchema.additionalProperties;
    },
  });
  Object.assign(components.schemas, relocated(named));
  return relocated(own);
}

function relocated(schema: object): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json;
}

const TEXT = { type: 'string' };
const ERROR = {
  type: 'object',
  description: 'Of any call that was refused: nothing was changed.',
  properties: {
    error: {
      type: 'object',
      properties: {
        message: { ...TEXT, description: 'What is wrong, and what to do next.' },
        type: TEXT,
        param: { type: ['string', 'null'], description: 'The field at fault.' },
        code: { ...TEXT, enum: Object.keys(ERRORS) },
      },
      required: ['message', 'type', 'param', 'code'],
    },
  },
  required: ['error'],
};
