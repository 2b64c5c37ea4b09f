/** What the tests of sounds sent as forms have in common: a catalog of models that hear, and what they answer. */
import type { Script } from '../support/scripted-upstream.ts';

export const HEARD = `
models:
  whisper-1: { routes: [{ provider: scripted, model: whisper-upstream }], price: { second_input: 0.0001 } }
  whisper-same: { routes: [{ provider: scripted, model: whisper-same }], price: { second_input: 0.0001 } }
  whisper-twice: { routes: [{ provider: scripted, model: first }, { provider: scripted, model: second }], price: { second_input: 0.0001 } }
  gpt-4o-transcribe: { routes: [{ provider: scripted, model: gpt-4o-transcribe }], max_output_tokens: 2000, context_window: 16000, price: { input: 1, input_audio: 4, output: 2 } }
  plain: { routes: [{ provider: scripted, model: plain-upstream }], max_output_tokens: 1000, price: { input: 1 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
`;

/** A whole answer. */
export const answer =
  (body: string | object, type = 'application/json'): Script =>
  ({ response }) => {
    response.writeHead(200, { 'content-type': type });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

/** Of whisper-1, as recorded. */
export const DURATION = { text: 'Hello.', usage: { type: 'duration', seconds: 4 } };
