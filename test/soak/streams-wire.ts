/** What a stream of the soak is asked for and answers, byte for byte: both ends make the same frames from its number. */
import { CATALOG as BENCH, MODEL } from '../bench/workload.ts';

export interface Wanted {
  /** The number of the stream: each frame bears it, so that a frame of another stream shows. */
  id: number;
  frames: number;
  everyMs: number;
}

/** Tokens of the prompt that the upstream reports; of output it reports one a frame. */
export const INPUT_TOKENS = 20;

export function requestBody(wanted: Wanted): string {
  return JSON.stringify({
    ...{ model: MODEL, max_tokens: wanted.frames, stream: true, stream_options: { include_usage: true } },
    messages: [{ role: 'user', content: JSON.stringify(wanted) }],
  });
}

export function wantedOf(body: string): Wanted {
  const { messages } = JSON.parse(body) as { messages: { content: string }[] };
  return JSON.parse(messages[0]!.content) as Wanted;
}

/** Frame number `index` of a stream, the last two being its usage and `[DONE]`. */
export function frameOf({ id, frames }: Wanted, index: number): string {
  const head = { id: `chatcmpl-${id}`, object: 'chat.completion.chunk', created: 1_760_000_000, model: 'm' };
  const chunk = (fields: object): string => `data: ${JSON.stringify({ ...head, ...fields })}\n\n`;
  if (index < frames) {
    const delta = { content: ` word ${index} of stream ${id}` };
    return chunk({ choices: [{ index: 0, delta, finish_reason: index === frames - 1 ? 'stop' : null }], usage: null });
  }
  if (index > frames) return 'data: [DONE]\n\n';
  const usage = { prompt_tokens: INPUT_TOKENS, completion_tokens: frames, total_tokens: INPUT_TOKENS + frames };
  return chunk({ choices: [], usage });
}

export const framesIn = ({ frames }: Wanted): number => frames + 2;

/** What passes beside the streams: a sound of 25 MB that is sent, and a picture of 10 MB that is answered. */
export const LARGE = { hears: 'heard', draws: 'drawn', soundSeconds: 819, pictureBytes: 10 * 1024 * 1024 };
/** In nano-credits, each. */
export const SOUND_NANO = 819_000_000n;
export const PICTURE_NANO = 1_000_000_000n;

export const CATALOG = BENCH.replace(
  'plans:',
  `  ${LARGE.hears}: { routes: [{ provider: mock, model: ${LARGE.hears} }], price: { second_input: 0.000001 } }
  ${LARGE.draws}: { routes: [{ provider: mock, model: ${LARGE.draws} }], price: { image: 0.001 } }
plans:`,
).replace(`models: ["${MODEL}"]`, 'models: ["*"]');
