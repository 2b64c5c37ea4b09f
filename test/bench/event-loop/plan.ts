/** What the event-loop benchmark sends, and how fast. */
export const FRAME_MS = 20;
/** Of a stream: eight seconds. */
export const FRAMES = 400;
export const STREAMS = 20;
/** Prompts are sent by the clock, whether or not those before are answered: half for an account with money, half for one without. */
export const PROMPTS_PER_SECOND = 8;
export const PROMPT_BYTES = 1024 * 1024;

export const MODEL = 'bench';
/** Reads a prompt of a megabyte, whatever its tokens: so they are admitted, not refused as too long. */
export const CATALOG = `
models:
  ${MODEL}: { routes: [{ provider: mock, model: gpt-4o }], max_output_tokens: 1000, context_window: 2000000, price: { input: 1, output: 2 } }
plans:
  bench: { default: true, models: ["${MODEL}"], features: [] }
`;
/** A prompt costs up to 1,049 by its bytes and about 262 by its tokens, where these are four bytes each; 1.002 when it is settled. */
export const TIGHT_CREDITS = 600n;

export interface Prompt {
  name: string;
  content: string;
}

const ENGLISH = 'The quick brown fox jumps over the lazy dog. ';
/** Characters that are common, one after the other, and no space or mark among them. */
const CJK = Array.from({ length: 997 }, (_, i) => String.fromCodePoint(0x4e00 + ((i * 31) % 6000))).join('');

/** Text of a megabyte at most, made of whole repetitions. */
function repeated(text: string): string {
  return text.repeat(Math.floor(PROMPT_BYTES / Buffer.byteLength(text)));
}

export const PROMPTS: readonly Prompt[] = [
  { name: '1 MB of English', content: repeated(ENGLISH) },
  { name: '1 MB of one letter', content: repeated('a') },
  { name: '1 MB of emoji', content: repeated('🦊') },
  { name: '1 MB of CJK, no marks', content: repeated(CJK) },
];
