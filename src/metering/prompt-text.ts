/** The text of a prompt, for counting it: what is neither text nor part of a message is left out. */
import { isObject } from '../lib/json.ts';

/** The texts of a chat request's messages. The body must be one that `readChatRequest` has accepted. */
export function promptTexts(body: Buffer): string[] {
  const { messages } = JSON.parse(body.toString()) as { messages: unknown[] };
  return messages.flatMap((message) => {
    const content = isObject(message) ? message.content : null;
    const parts = Array.isArray(content) ? content.map((part) => isObject(part) && part.text) : [content];
    return parts.filter((text) => typeof text === 'string');
  });
}
