/**
 * Ids inside requests that name what a provider has stored. All accounts share the provider's, so that an id is as good as what it
 * names: those of answers that Tollgate noted for their account (gateway/owned/) are found here and checked there; all others,
 * of files, vector stores, conversations, prompts, skills and connectors, are refused with their `param`.
 *
 * What carries its own content needs no check: a message, a call and its output. So does `encrypted_content`, which is of use only
 * to who was given it: it cannot be guessed, and its maker's account has it from its own answer.
 */
import { isObject, type Json } from '../../lib/json.ts';
import { CONTENT_OF } from '../item-contents.ts';
import { invalid } from './json-body.ts';
import { isMisread } from './message-parts.ts';
import type { StoredId } from './types.ts';

/** No request names more; no answer has so deep a structure. */
const MOST_IDS = 1_000;
const MOST_DEPTH = 64;

const UNTRACKED = 'it names what the provider has stored, and this gateway does not know whose it is';
/** Keys that end like one of an id, and name something within the request itself. */
const HARMLESS = new Set(['call_id', 'caller_id', 'tool_call_id']);
const NAMES_STORED = /_ids?$|^cached_content$/;
/** Parts of answers that are noted for their account. */
const NOTED = new Set(['container', 'container_id', 'approval_request_id']);
/** What clients describe in words of their own: there `file_id` is the name of a parameter. */
const OPAQUE = new Set([
  ...['parameters', 'output_schema', 'input_schema', 'schema', 'arguments', 'headers', 'metadata', 'encrypted_content'],
  ...['text', 'logprobs', 'results', 'user_location', 'filters'],
]);

/**
 * The ids in the body of a response, a compaction or a count of input tokens that its account must own. Throws `invalid_request` with
 * `param` for what is not tracked.
 */
export function storedIdsOf(json: Json): readonly StoredId[] {
  const found: StoredId[] = [];
  const previous = json.previous_response_id ?? null;
  if (previous !== null) {
    if (typeof previous !== 'string') throw invalid('previous_response_id', 'must be the id of a response');
    found.push({ id: previous, param: 'previous_response_id', kind: 'response' });
  }
  if ((json.conversation ?? null) !== null) throw invalid('conversation', UNTRACKED);
  if ((json.prompt ?? null) !== null) throw invalid('prompt.id', UNTRACKED);
  for (const field of ['input', 'instructions']) {
    const items = json[field];
    if (!Array.isArray(items)) continue;
    for (const [at, item] of items.entries()) readItem(item, `${field}[${at}]`, found);
  }
  const tools = Array.isArray(json.tools) ? json.tools : [];
  for (const [at, tool] of tools.entries()) walk(tool, `tools[${at}]`, 0, found);
  if (found.length > MOST_IDS) throw invalid('input', `names more than ${MOST_IDS} stored things`);
  return found;
}

/**
 * The ids in a chat's messages that its account must own: of sounds of earlier answers. Throws `invalid_request` for what is not tracked,
 * such as files.
 */
export function storedIdsIn(messages: readonly unknown[]): readonly StoredId[] | undefined {
  let found: StoredId[] | undefined;
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i];
    if (!isObject(message)) continue;
    if (isObject(message.audio) && isNamed(message.audio.id)) {
      found ??= [];
      found.push({ id: message.audio.id, param: `messages[${i}].audio.id`, kind: 'item' });
    }
    if (!Array.isArray(message.content)) continue;
    for (let k = 0; k < message.content.length; k++) refuseStored(message.content[k], `messages[${i}].content[${k}]`);
  }
  if (found !== undefined && found.length > MOST_IDS)
    throw invalid('messages', `names more than ${MOST_IDS} stored things`);
  return found;
}

/**
 * Refuses what names something stored anywhere within a value: `file_id`, `file_ids` and the like. `param`: where the value stands.
 * Throws `invalid_request`.
 */
export function refuseStored(value: unknown, param: string): void {
  walk(value, param, 0, null);
}

function readItem(item: unknown, param: string, found: StoredId[]): void {
  if (isObject(item) && isNamed(item.id) && !carriesItself(item)) {
    found.push({ id: item.id, param: `${param}.id`, kind: 'item' });
  }
  walk(item, param, 0, found);
}

/** One that does not say what it is, is a message where it has a role, else a reference, whatever stands beside its id. */
function carriesItself(item: Json): boolean {
  const type = item.type ?? ((item.role ?? null) === null ? 'item_reference' : 'message');
  return (CONTENT_OF.get(type) ?? []).some((field) => (item[field] ?? '') !== '');
}

function isNamed(id: unknown): id is string {
  return typeof id === 'string' && id !== '';
}

/** `found` null: nothing is noted for accounts here, so that all is refused. */
function walk(value: unknown, param: string, depth: number, found: StoredId[] | null): void {
  if (Array.isArray(value)) {
    if (depth > MOST_DEPTH) throw invalid(param, 'is nested too deeply');
    for (let i = 0; i < value.length; i++) walk(value[i], `${param}[${i}]`, depth + 1, found);
    return;
  }
  if (!isObject(value)) return;
  if (depth > MOST_DEPTH) throw invalid(param, 'is nested too deeply');
  if (isMisread(value)) throw invalid(param, 'the names of its fields must be spelled without escapes');
  for (const key in value) {
    if (OPAQUE.has(key)) continue;
    const held = value[key];
    // A container is named by its id, or described; wherever a tool stands, also among the items of the input.
    const names = key === 'container' ? isNamed(held) : NAMES_STORED.test(key) && !HARMLESS.has(key);
    if (names) readNamed(key, held, `${param}.${key}`, found);
    else if (typeof held === 'object' && held !== null) walk(held, `${param}.${key}`, depth + 1, found);
  }
}

function readNamed(key: string, held: unknown, param: string, found: StoredId[] | null): void {
  if (found !== null && NOTED.has(key) && isNamed(held)) found.push({ id: held, param, kind: 'item' });
  else if (isNamed(held)) throw invalid(param, UNTRACKED);
  else if (Array.isArray(held) && held.length > 0) throw invalid(`${param}[0]`, UNTRACKED);
  else if (isObject(held)) throw invalid(param, UNTRACKED);
}
