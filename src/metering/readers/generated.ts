/** What a model wrote, kept to be counted where no usage is reported. */
import { isObject, type Json } from '../../lib/json.ts';

/** Text kept for counting; of more only the length is. */
const KEPT_CHARS = 4 * 1024 * 1024;
const CHARS_PER_TOKEN = 4;

/** The pieces of text of one answer. Bounded: of more than 4 Mi characters only the number is kept. */
export class GeneratedText {
  readonly texts: string[] = [];
  #pieces = 0;
  #chars = 0;

  add(text: string): void {
    if (text === '') return;
    this.#pieces++;
    this.#chars += text.length;
    if (this.#chars <= KEPT_CHARS) this.texts.push(text);
  }

  /** A likely number of tokens: one for each piece, or by length where pieces are long. */
  estimate(): number {
    return Math.max(this.#pieces, Math.ceil(this.#chars / CHARS_PER_TOKEN));
  }
}

/** Parts inside of parts inside of parts are nobody's text: what is nested deeper could exhaust the stack. */
const MOST_LEVELS = 3;

/** Adds text, or a list of parts: text, or thoughts that are such a list themselves. */
export function addText(value: unknown, texts: string[], levels = MOST_LEVELS): void {
  if (typeof value === 'string') {
    if (value !== '') texts.push(value);
  } else if (Array.isArray(value) && levels > 0) {
    for (const part of value) if (isObject(part)) addText(part.text ?? part.thinking, texts, levels - 1);
  }
}

/** All that a model wrote in a completion or chunk: text, refusals, visible reasoning, calls of tools. */
export function generatedIn(json: Json): string[] {
  const texts: string[] = [];
  for (const choice of Array.isArray(json.choices) ? json.choices : []) {
    if (!isObject(choice)) continue;
    // The older completions have their text in the choice itself.
    addText(choice.text, texts);
    const message = choice.delta ?? choice.message;
    if (!isObject(message)) continue;
    addText(message.content, texts);
    addText(message.refusal, texts);
    addText(message.reasoning_content ?? message.reasoning, texts);
    addCall(message.function_call, texts);
    for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) {
      if (isObject(call)) addCall(call.function ?? call.custom, texts);
    }
  }
  return texts;
}

function addCall(call: unknown, texts: string[]): void {
  if (!isObject(call)) return;
  addText(call.name, texts);
  addText(call.arguments ?? call.input, texts);
}

/** Members of a delta that `generatedIn` looks at, and those that are no output. */
const READ = new Set(['role', 'content', 'refusal', 'reasoning_content', 'reasoning', 'function_call', 'tool_calls']);

/** Tokens around a call of a tool that no byte of it shows: to whom it goes, where it begins and ends. */
const CALL_TOKENS = 16;

/**
 * The most output tokens that a chunk can be: a token is a byte of what was generated at least, and a call has some around
 * it. What stands in fields that are not known counts in full.
 */
export function mostTokensIn(json: Json): number {
  let most = 0;
  for (const text of generatedIn(json)) most += Buffer.byteLength(text);
  for (const choice of Array.isArray(json.choices) ? json.choices : []) {
    const delta = isObject(choice) && isObject(choice.delta) ? choice.delta : {};
    if (Array.isArray(delta.tool_calls)) most += CALL_TOKENS * delta.tool_calls.filter(beginsCall).length;
    for (const field in delta) {
      if (!READ.has(field) && delta[field] !== null) most += JSON.stringify(delta[field]).length;
    }
  }
  return most;
}

/** Whether a piece of a call is its first: the others bear its index alone. */
function beginsCall(call: unknown): boolean {
  return isObject(call) && (typeof call.id === 'string' || (isObject(call.function) && Boolean(call.function.name)));
}

/** The ids of the sounds of an answer, or of a chunk of one: the provider keeps them for a while. */
export function soundsIn({ choices }: Json, at: 'message' | 'delta'): string[] {
  const ids: string[] = [];
  for (const choice of Array.isArray(choices) ? choices : []) {
    const message = isObject(choice) ? choice[at] : null;
    const audio = isObject(message) ? message.audio : null;
    if (isObject(audio) && typeof audio.id === 'string') ids.push(audio.id);
  }
  return ids;
}
