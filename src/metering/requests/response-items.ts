/**
 * The items of a Responses request that are not text: as message-parts.ts has them for the messages of a chat. Items whose
 * tokens all stand in the body are known by their type, references to items of earlier answers by what those answers used; what else
 * a provider has stored, and what nobody knows, is bounded by the context window alone.
 */
import { isObject, type Json } from '../../lib/json.ts';
import { countPicture, countSound, countUnknown, isMisread, type MessageParts, noParts } from './message-parts.ts';

/** Items that the model reads as they stand in the body: what a client's tools were asked, and what they answered. */
const TEXT = new Set([
  ...['function_call', 'custom_tool_call', 'local_shell_call', 'local_shell_call_output', 'shell_call'],
  ...['shell_call_output', 'apply_patch_call', 'apply_patch_call_output', 'tool_search_call', 'tool_search_output'],
  ...['additional_tools', 'mcp_list_tools', 'mcp_approval_request', 'mcp_approval_response', 'mcp_call'],
  ...['computer_call', 'program', 'program_output'],
]);
/** Items whose output is a text, a part or a list of parts. */
const OUTPUTS = new Set(['function_call_output', 'custom_tool_call_output', 'computer_call_output']);
/** Items that bring tools for the model to call: those that `mcp_list_tools` has are on the client's server, and text. */
const BRING_TOOLS = new Set(['additional_tools', 'tool_search_output']);
/** Parts of a content that are text. */
const TEXT_PARTS = new Set(['input_text', 'output_text', 'text', 'summary_text', 'reasoning_text', 'refusal']);
/** An item that has a summary made of all that came before it. */
const TRIGGER = 'compaction_trigger';

export interface ItemParts {
  parts: MessageParts;
  /** Lists of tools that items bring with them. */
  tools: unknown[];
  /** Whether an item has the context summed up: it is read once more for that. */
  compacts: boolean;
}

/** What the input of a Responses request has beside text: a string, or a list of items. */
export function countItems(input: unknown): ItemParts {
  const found: ItemParts = { parts: noParts(), tools: [], compacts: false };
  for (const item of Array.isArray(input) ? input : []) {
    if (isObject(item) && !isMisread(item)) countItem(item, found);
    else found.parts.unbounded++;
  }
  return found;
}

function countItem(item: Json, found: ItemParts): void {
  const { parts } = found;
  // A message need not say that it is one.
  const type = item.type ?? (item.role === undefined ? 'item_reference' : 'message');
  if (typeof type === 'string' && BRING_TOOLS.has(type)) found.tools.push(item.tools);
  if (type === TRIGGER) found.compacts = true;
  if (isReference(item)) parts.named++;
  else if (type === 'message') countContent(item.content, parts);
  else if (typeof type === 'string' && OUTPUTS.has(type)) countContent(item.output, parts);
  // Thoughts that are neither shown nor sent along are read from where the provider stored them.
  else if (type === 'reasoning' && typeof item.encrypted_content === 'string') return;
  else if (typeof type !== 'string' || !TEXT.has(type)) countUnknown(item.result, parts);
}

/** Names an item of an answer, and nothing else. */
function isReference({ type, id, ...rest }: Json): boolean {
  return type === 'item_reference' && typeof id === 'string' && id !== '' && Object.keys(rest).length === 0;
}

function countContent(content: unknown, parts: MessageParts): void {
  if (typeof content === 'string') return;
  for (const part of Array.isArray(content) ? content : [content]) {
    if (isObject(part) && !isMisread(part)) countPart(part, parts);
    else parts.unbounded++;
  }
}

function countPart(part: Json, parts: MessageParts): void {
  const { type, image_url, file_id, detail } = part;
  if (typeof type === 'string' && TEXT_PARTS.has(type)) return;
  if (type === 'input_audio') countSound(part.input_audio, parts);
  else if (isPicture(type) && (file_id ?? null) === null) countPicture({ url: image_url, detail }, parts);
  else countUnknown(part.file_data, parts);
}

function isPicture(type: unknown): boolean {
  return type === 'input_image' || type === 'computer_screenshot';
}
