/**
 * What a stream of the Responses dialect has told so far: as much as is needed to end it as a provider would. The text itself is kept
 * once, by whoever counts it; here is only which of its pieces belong where.
 *
 *   created ──item added──▶ open ──deltas──▶ open ──item done──▶ closed ──item added──▶ open …
 */
import { isObject, type Json } from '../../lib/json.ts';
import { frameObject } from './frames.ts';
import type { SoFar } from './types.ts';

/** Fields of the response that are small, and that clients look for in its last event. */
const HEAD = [
  ...['id', 'object', 'created_at', 'model', 'background', 'max_output_tokens', 'max_tool_calls', 'metadata'],
  ...['parallel_tool_calls', 'previous_response_id', 'reasoning', 'service_tier', 'store', 'temperature'],
  ...['text', 'tool_choice', 'top_logprobs', 'top_p', 'truncation', 'user'],
];
/** Items and changes from one to another beyond these are not told in an end of ours. */
const MOST_ITEMS = 1_000;
const MOST_RUNS = 10_000;

/** Where a delta belongs, by its event: the kind of the part, or the field of the item. */
const PLACES: Readonly<Record<string, string>> = {
  'response.output_text.delta': 'output_text',
  'response.refusal.delta': 'refusal',
  'response.reasoning_text.delta': 'reasoning_text',
  'response.reasoning_summary_text.delta': 'summary_text',
  'response.function_call_arguments.delta': 'arguments',
  'response.mcp_call_arguments.delta': 'arguments',
  'response.custom_tool_call_input.delta': 'input',
};

/** A run of pieces of text that follow one another in one place. */
interface Run {
  output: unknown;
  part: unknown;
  place: string;
  /** Its first piece. */
  from: number;
}

interface Item {
  item: Json;
  output: unknown;
  closed: boolean;
}

export class ResponseSoFar {
  #head: Json = {};
  #items: Item[] = [];
  #runs: Run[] = [];
  #sequence = 0;

  /** Notes an event that is no delta. */
  see(event: Json): void {
    if (typeof event.sequence_number === 'number') this.#sequence = event.sequence_number + 1;
    const { type, item, output_index: output, response } = event;
    if (type === 'response.created' && isObject(response)) this.#head = headOf(response);
    if (!isObject(item)) return;
    if (type === 'response.output_item.added' && this.#items.length < MOST_ITEMS) {
      this.#items.push({ item, output, closed: false });
    } else if (type === 'response.output_item.done') {
      const added = this.#items.findLast((one) => one.output === output);
      if (added !== undefined) added.closed = true;
    }
  }

  /** Notes a delta, whose text will be so many-th piece of all. */
  delta(event: Json, piece: number): void {
    if (typeof event.sequence_number === 'number') this.#sequence = event.sequence_number + 1;
    const place = PLACES[String(event.type)] ?? '';
    const { output_index: output } = event;
    const part = event.content_index ?? event.summary_index;
    const last = this.#runs.at(-1);
    if (last !== undefined && last.output === output && last.place === place && last.part === part) return;
    if (this.#runs.length < MOST_RUNS) this.#runs.push({ output, part, place, from: piece });
  }

  /** What was told, with the pieces of text that were noted. */
  told(texts: readonly string[]): SoFar {
    const runs = this.#runs.map(({ from, ...run }, i) => ({
      ...run,
      text: texts.slice(from, this.#runs[i + 1]?.from).join(''),
    }));
    const items = this.#items.map(({ item, output, closed }) => ({
      ...{ output, closed },
      item: filled(
        item,
        closed,
        runs.filter((run) => run.output === output),
      ),
    }));
    const open = items.filter(({ closed }) => !closed);
    return { head: this.#head, output: items.map(({ item }) => item), open, sequence: this.#sequence };
  }
}

function headOf(response: Json): Json {
  return Object.fromEntries(HEAD.filter((field) => field in response).map((field) => [field, response[field]]));
}

/** An item as it was added, with its text. */
function filled(item: Json, closed: boolean, runs: readonly { place: string; text: string }[]): Json {
  const parts = (...places: string[]) => runs.filter(({ place }) => places.includes(place));
  const whole = (place: string) => parts(place).map(({ text }) => text);
  const status = closed ? 'completed' : 'incomplete';
  switch (item.type) {
    case 'message':
      return { ...item, status, content: parts('output_text', 'refusal').map(partOf) };
    case 'reasoning':
      return { ...item, summary: parts('summary_text').map(partOf), content: parts('reasoning_text').map(partOf) };
    case 'custom_tool_call':
      return { ...item, status, input: whole('input').join('') };
    default:
      return 'arguments' in item ? { ...item, status, arguments: whole('arguments').join('') } : { ...item, status };
  }
}

function partOf({ place, text }: { place: string; text: string }): Json {
  if (place === 'refusal') return { type: place, refusal: text };
  return place === 'output_text' ? { type: place, text, annotations: [], logprobs: [] } : { type: place, text };
}

/** Tokens that no byte of an item shows: to whom it goes, where it begins and ends. */
const ITEM_TOKENS = 16;
/** Events that begin or repeat what deltas tell, or say how it stands. */
const REPEATS =
  /^response\.(?:created|queued|in_progress|completed|incomplete|failed|content_part\.(?:added|done)|reasoning_summary_part\.(?:added|done)|(?:output_text|refusal|reasoning_text|reasoning_summary_text|function_call_arguments|custom_tool_call_input)\.done|output_text\.annotation\.added)$/;
/** Items that are told in deltas. */
const TOLD = new Set<unknown>(['message', 'reasoning', 'function_call', 'custom_tool_call']);

/** The most output tokens that an event can be: a token is a byte of a delta at least; what is not known counts in full. */
export function mostTokens(frame: Buffer): number {
  const event = frameObject(frame, 'sse');
  if (event === null) return 0;
  const { type, item, delta } = event;
  if (typeof delta === 'string') return Buffer.byteLength(delta);
  if (type === 'error' || (typeof type === 'string' && REPEATS.test(type))) return 0;
  if (!isObject(item) || !TOLD.has(item.type)) return frame.length;
  if (type === 'response.output_item.done') return 0;
  return ITEM_TOKENS + (typeof item.name === 'string' ? Buffer.byteLength(item.name) : 0);
}
