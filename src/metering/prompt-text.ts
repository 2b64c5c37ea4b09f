/** The text of a prompt, for counting it: what is neither text nor part of a message is left out. */
import { isObject } from '../lib/json.ts';

/**
 * The texts of a request's prompt, each as it stands in its body: of the messages of a chat, of the prompts of a completion, of
 * the inputs of an embedding, of the items of a response. The body must be one that the reader of its endpoint has accepted.
 */
export function promptTexts(body: Buffer): string[] {
  const { messages, prompt, input, instructions } = JSON.parse(body.toString()) as Record<string, unknown>;
  return [...textsOf(instructions), ...textsOf(messages ?? prompt ?? input)];
}

/** A text, several of them, or messages: whatever else it holds is not told. */
function textsOf(value: unknown): string[] {
  const all: unknown[] = Array.isArray(value) ? value : [value];
  return all.flatMap((one) => {
    // What a function was called with, and what it answered, stands beside the content.
    const held = isObject(one) ? [one.content, one.output, one.arguments] : [one];
    const parts = held.flatMap((content) =>
      Array.isArray(content) ? content.map((part) => isObject(part) && part.text) : [content],
    );
    return parts.filter((text) => typeof text === 'string');
  });
}
