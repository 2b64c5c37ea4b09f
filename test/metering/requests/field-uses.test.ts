/**
 * Every field of OpenAI's requests is classed by what it means for the bill: a new one is named here before it costs anybody
 * anything. The API's description lies beside the project and is no part of it: without it this suite says that it did not run.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { isObject, type Json } from '../../../src/lib/json.ts';
import { readChatRequest } from '../../../src/metering/requests/chat.ts';
import {
  costFieldsOf,
  REQUEST_FIELDS,
  type RequestEndpoint,
  useOf,
} from '../../../src/metering/requests/field-uses.ts';

const file = fileURLToPath(new URL('../../../../shared/openai/openapi.yaml', import.meta.url));
const present = existsSync(file);
if (!present) console.warn(`NOT RUN: there is no description of OpenAI's API at ${file}`);
const text = present ? readFileSync(file, 'utf8') : '';

const SCHEMAS: Readonly<Record<RequestEndpoint, readonly string[]>> = {
  chat: ['CreateChatCompletionRequest'],
  completions: ['CreateCompletionRequest'],
  responses: ['CreateResponse', 'TokenCountsBody', 'CompactResponseMethodPublicBody'],
  embeddings: ['CreateEmbeddingRequest'],
  moderations: ['CreateModerationRequest'],
  images: ['CreateImageRequest'],
  image_edits: ['CreateImageEditRequest', 'EditImageBodyJsonParam'],
  image_variations: ['CreateImageVariationRequest'],
  speech: ['CreateSpeechRequest'],
  transcriptions: ['CreateTranscriptionRequest'],
  translations: ['CreateTranslationRequest'],
};

/** What the table has that OpenAI's description lacks: fields of others who speak the dialect, and of a beta. */
const BEYOND = new Set([
  ...[
    'chat.extra_body',
    'chat.cached_content',
    'chat.reasoning',
    'chat.thinking',
    'chat.plugins',
    'chat.enable_search',
  ],
  ...[
    'chat.best_of',
    'chat.models',
    'chat.search_parameters',
    'chat.search_settings',
    'responses.multi_agent',
    'completions.service_tier',
    'completions.models',
    'images.image',
    'images.images',
    'images.mask',
  ],
  ...['models', 'plugins', 'search_parameters', 'modalities', 'audio', 'image', 'request_id'].map(
    (field) => `responses.${field}`,
  ),
  ...['url', 'file_url', 'file_id'].flatMap((field) => [`transcriptions.${field}`, `translations.${field}`]),
]);

/** One schema of the description: its lines are cut out, because the whole takes seconds to parse. */
function schema(name: string): Json {
  const start = text.indexOf(`\n    ${name}:\n`);
  if (start < 0) throw new Error(`the description has no schema ${name}`);
  const rest = text.slice(start + 1);
  const end = rest.slice(1).search(/^ {4}\S/m);
  return (parse(end < 0 ? rest : rest.slice(0, end + 1)) as Record<string, Json>)[name]!;
}

/** The names of its properties, with those of what it is made of. */
function fieldsOf(node: Json): string[] {
  const own = isObject(node.properties) ? Object.keys(node.properties) : [];
  const reference = typeof node.$ref === 'string' ? fieldsOf(schema(node.$ref.split('/').at(-1)!)) : [];
  const parts = Array.isArray(node.allOf) ? node.allOf.filter(isObject).flatMap(fieldsOf) : [];
  return [...own, ...reference, ...parts];
}

const endpoints = Object.keys(REQUEST_FIELDS) as RequestEndpoint[];
const classedIn = (endpoint: RequestEndpoint): string[] => {
  const { refused, ...uses } = REQUEST_FIELDS[endpoint];
  return [...Object.values(uses).flat(), ...Object.keys(refused)];
};
const unclassed = (endpoint: RequestEndpoint, fields: readonly string[]): string[] =>
  [...new Set(fields)].filter((field) => useOf(endpoint, field) === null);

describe('the table of request fields', () => {
  it.each(endpoints)('has each field of %s once', (endpoint) => {
    const fields = classedIn(endpoint);
    expect(fields.filter((field, i) => fields.indexOf(field) !== i)).toEqual([]);
    expect(unclassed(endpoint, fields)).toEqual([]);
  });

  it('tells of a field that nobody has classed', () => {
    expect(unclassed('chat', ['messages', 'n', 'quantum_mode'])).toEqual(['quantum_mode']);
  });
});

describe('a field of chat that is given twice', () => {
  const twice = (field: string) =>
    readChatRequest(Buffer.from(`{"model":"m","messages":[{"content":"x"}],"${field}":null,"${field}":null}`));

  const readByUs = costFieldsOf('chat');
  it.each([...readByUs])('is refused where it bears on cost, or we may set it: %s', (field) => {
    expect(() => twice(field)).toThrow(expect.objectContaining({ code: 'invalid_request', param: field }));
  });

  it.each(REQUEST_FIELDS.chat.free.filter((field) => !readByUs.has(field)))(
    'passes where it costs nothing: %s',
    (field) => {
      expect(twice(field).model).toBe('m');
    },
  );
});

describe.skipIf(!present)("the fields of OpenAI's requests", () => {
  it.each(endpoints)('are all classed: %s', (endpoint) => {
    const described = SCHEMAS[endpoint].flatMap((name) => fieldsOf(schema(name)));
    expect(described.length).toBeGreaterThan(1);
    expect(unclassed(endpoint, described)).toEqual([]);
    const extra = classedIn(endpoint).filter((field) => !described.includes(field));
    expect(extra.filter((field) => !BEYOND.has(`${endpoint}.${field}`))).toEqual([]);
  });
});
