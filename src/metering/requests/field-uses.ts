/**
 * The fields of requests, by what they mean for the bill: one table for all endpoints. A field that bears on cost must be
 * read the same by us and by the provider, so it is refused when it is given twice or spelled oddly. A field that is not
 * listed passes as it came, as it does at the provider; a test names those of OpenAI's API description that nobody has
 * classed.
 */

/** What a field does to the cost of a request. */
export type FieldUse =
  /** Chooses the model, or the form of the answer. */
  | 'selects'
  /** Is read by the model: bounded by its bytes, or by the rules of what it holds (../bounds.ts). */
  | 'input'
  /** Bounds what is generated, multiplies it, or moves it within its bound. */
  | 'output'
  /** Asks for a unit or a tier that the model must have a price for (asks.ts). */
  | 'asks'
  /** Costs nothing of its own. */
  | 'free';

/** An endpoint that the table knows. */
export type RequestEndpoint =
  | 'chat'
  | 'completions'
  | 'responses'
  | 'embeddings'
  | 'moderations'
  | 'images'
  | 'image_edits'
  | 'image_variations'
  | 'speech'
  | 'transcriptions'
  | 'translations';

type FieldTable = { readonly [use in FieldUse]: readonly string[] } & {
  /** What this gateway cannot meter or bound, and why, as the client is told. */
  readonly refused: Readonly<Record<string, string>>;
};

const MODERATION = 'it calls another model, which this gateway does not meter';
/** Of all that generates text from OpenAI's current schemas. */
const COMMON = [
  'metadata',
  'top_logprobs',
  'temperature',
  'top_p',
  'user',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
];
const SENT = 'pictures are sent to /v1/images/edits';
const PICTURE_FORM = ['response_format', 'output_format', 'output_compression', 'background', 'moderation', 'user'];

/** Of other providers, which hear these in the place of the file. */
const NOT_MEASURED = 'how long it plays cannot be told; send the sound itself as file';
const OTHER_SOUNDS = { url: NOT_MEASURED, file_url: NOT_MEASURED, file_id: NOT_MEASURED };

export const REQUEST_FIELDS: Readonly<Record<RequestEndpoint, FieldTable>> = {
  chat: {
    selects: ['model', 'stream', 'stream_options'],
    // `extra_body` may ask other providers to read more. Written tokens are bounded as the dearest input.
    input: ['messages', 'functions', 'prompt_cache_options', 'extra_body'],
    // Rejected tokens of a prediction are billed within the output limit. `thinking` and `reasoning`: of other providers.
    output: [
      ...['max_tokens', 'max_completion_tokens', 'n', 'prediction', 'response_format', 'reasoning_effort', 'verbosity'],
      ...['reasoning', 'thinking'],
    ],
    // `plugins` and `enable_search`: of other providers.
    asks: ['service_tier', 'modalities', 'audio', 'web_search_options', 'tools', 'plugins', 'enable_search'],
    free: [
      ...COMMON,
      ...['frequency_penalty', 'presence_penalty', 'logit_bias', 'logprobs', 'seed', 'stop', 'store'],
      ...['tool_choice', 'parallel_tool_calls', 'function_call'],
    ],
    refused: {
      moderation: MODERATION,
      cached_content: 'it names what the provider has stored, and this gateway does not know whose it is',
      best_of: 'drafts are billed that are not returned',
      models: 'the answer could come from a model of another price',
      search_parameters: 'this gateway has no price for it; ask for a search as a tool',
      search_settings: 'this gateway has no price for it; ask for a search as a tool',
    },
  },
  completions: {
    selects: ['model', 'stream', 'stream_options'],
    input: ['prompt', 'suffix'],
    // What is echoed is in the answer, and no output.
    output: ['max_tokens', 'n', 'best_of', 'echo'],
    asks: ['service_tier'],
    free: [
      ...['frequency_penalty', 'presence_penalty', 'logit_bias', 'logprobs', 'seed', 'stop', 'temperature'],
      ...['top_p', 'user'],
    ],
    refused: { models: 'the answer could come from a model of another price' },
  },
  responses: {
    // Served where it is false: the answer comes with the request.
    selects: ['model', 'stream', 'stream_options', 'background'],
    // Those that name what a provider has stored are bounded by what it counted, or by the context window.
    input: [
      ...['input', 'instructions', 'prompt', 'previous_response_id', 'conversation', 'truncation'],
      ...['context_management', 'prompt_cache_options', 'image'],
    ],
    // `reasoning.mode: pro` costs the same a token, within the same limit.
    output: ['max_output_tokens', 'max_tool_calls', 'text', 'reasoning'],
    asks: ['service_tier', 'tools'],
    free: [...COMMON, 'include', 'parallel_tool_calls', 'tool_choice', 'store', 'personality'],
    refused: {
      moderation: MODERATION,
      multi_agent: 'nothing bounds how many agents are run',
      // Of other providers that speak the dialect.
      models: 'the answer could come from a model of another price',
      plugins: 'this gateway has no price for it; ask for a search as a tool',
      search_parameters: 'this gateway has no price for it; ask for a search as a tool',
      modalities: 'this gateway has no price for it; ask for pictures as a tool',
      audio: 'this gateway has no price for it',
      request_id: 'the provider would store the answer by that name, over one of another account',
    },
  },
  embeddings: {
    selects: ['model'],
    input: ['input'],
    output: [],
    asks: [],
    free: ['encoding_format', 'dimensions', 'user'],
    refused: {},
  },
  moderations: { selects: ['model'], input: ['input'], output: [], asks: [], free: [], refused: {} },
  images: {
    selects: ['model', 'stream'],
    input: ['prompt'],
    output: ['n', 'size', 'quality', 'partial_images'],
    asks: [],
    free: [...PICTURE_FORM, 'style'],
    refused: { image: SENT, images: SENT, mask: SENT },
  },
  image_edits: {
    selects: ['model', 'stream'],
    input: ['prompt', 'image', 'images', 'mask', 'input_fidelity'],
    output: ['n', 'size', 'quality', 'partial_images'],
    asks: [],
    free: PICTURE_FORM,
    refused: {},
  },
  image_variations: {
    selects: ['model'],
    input: ['image'],
    output: ['n', 'size'],
    asks: [],
    free: ['response_format', 'user'],
    refused: {},
  },
  speech: {
    // A binary answer is measured by its form; a voice may be one that is stored.
    selects: ['model', 'stream_format', 'response_format', 'voice'],
    input: ['input', 'instructions'],
    // Slow speech is more of it.
    output: ['speed'],
    asks: [],
    free: [],
    refused: {},
  },
  transcriptions: {
    // An answer that is plain text reports no usage.
    selects: ['model', 'stream', 'response_format'],
    input: ['file', 'prompt', 'keywords', 'known_speaker_names', 'known_speaker_references'],
    output: [],
    asks: [],
    free: ['language', 'languages', 'temperature', 'include', 'timestamp_granularities', 'chunking_strategy'],
    refused: OTHER_SOUNDS,
  },
  translations: {
    selects: ['model', 'response_format'],
    input: ['file', 'prompt'],
    output: [],
    asks: [],
    free: ['temperature'],
    refused: OTHER_SOUNDS,
  },
};

/** What a field means for the bill; `refused`: it is not served. `null`: nobody has classed it. */
export function useOf(endpoint: RequestEndpoint, field: string): FieldUse | 'refused' | null {
  return USES.get(endpoint)!.get(field) ?? null;
}

/** What the gateway may set itself (gateway/tenancy.ts): it and the provider must see the same field there too. */
const SET_BY_US: ReadonlySet<string> = new Set(['user', 'safety_identifier', 'prompt_cache_key', 'store']);

/** Whether a field is read the same by everybody, or refused: it bears on cost, or the gateway may set it. */
export function isReadAlike(endpoint: RequestEndpoint, field: string): boolean {
  return (useOf(endpoint, field) ?? 'free') !== 'free' || SET_BY_US.has(field);
}

/** The fields that bear on cost, in any way, and those that the gateway may set. */
export function costFieldsOf(endpoint: RequestEndpoint): ReadonlySet<string> {
  const uses = [...USES.get(endpoint)!].filter(([field, use]) => use !== 'free' || SET_BY_US.has(field));
  return new Set(uses.map(([field]) => field));
}

const USES: ReadonlyMap<string, ReadonlyMap<string, FieldUse | 'refused'>> = new Map(
  Object.entries(REQUEST_FIELDS).map(([endpoint, { refused, ...classes }]) => {
    const uses = new Map<string, FieldUse | 'refused'>();
    for (const [use, fields] of Object.entries(classes)) for (const field of fields) uses.set(field, use as FieldUse);
    for (const field of Object.keys(refused)) uses.set(field, 'refused');
    return [endpoint, uses];
  }),
);
