/** What the demo model says, whichever way it is asked. */

/** How much of the user's message is echoed. */
const ECHO_CHARS = 200;
/** A token of English text is about four characters. */
const CHARS_PER_TOKEN = 4;

/** What will be answered: the head, and the pieces of the body that leave one frame time apart. */
export interface DemoAnswer {
  status: number;
  contentType: string;
  frames: Buffer[];
}

export const JSON_TYPE = 'application/json';
export const SSE_TYPE = 'text/event-stream; charset=utf-8';

export interface Reply {
  /** Its tokens. */
  words: string[];
  /** Whether the limit cut it. */
  isCut: boolean;
  /** Tokens of all texts of the prompt. */
  prompt: number;
}

/** The reply to the last message of the user, of at most so many words. */
export function replyTo(lastUser: string, texts: readonly string[], limit: number | null | undefined): Reply {
  const reply =
    `You said: "${lastUser.slice(0, ECHO_CHARS).toWellFormed()}". This is the built-in demo model: it runs offline, ` +
    'inside the gateway, so that you can watch a request being held, streamed, settled and explained.';
  const all = reply.match(/\s*\S+/g) ?? [];
  const words = all.slice(0, limit ?? all.length);
  const chars = texts.reduce((sum, text) => sum + text.length, 0);
  return { words, isCut: words.length < all.length, prompt: Math.max(1, Math.ceil(chars / CHARS_PER_TOKEN)) };
}

/** The text of a message: a string, or the text parts of a list. */
export function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part: { text?: unknown } | null) => (typeof part?.text === 'string' ? part.text : '')).join('');
}

/** An error in OpenAI's form. */
export function refusal(status: number, param: string, message = `Invalid value: '${param}'.`): DemoAnswer {
  const code = status === 404 ? 'model_not_found' : 'invalid_value';
  const error = { message, type: 'invalid_request_error', param, code };
  return { status, contentType: JSON_TYPE, frames: [Buffer.from(JSON.stringify({ error }))] };
}
