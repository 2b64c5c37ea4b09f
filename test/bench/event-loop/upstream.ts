/** The upstream of the event-loop benchmark: streams in an even pace, and short answers at once, whatever was asked. */
import { createServer, type ServerResponse } from 'node:http';
import { listen, serveParent } from '../child.ts';
import { FRAME_MS, FRAMES } from './plan.ts';

/** The client writes it first, so that it is in the first bytes. */
const STREAM = Buffer.from('"stream":true');
const IDENTITY = { id: 'c1', created: 1, model: 'm' };
const USAGE = { prompt_tokens: 20, completion_tokens: FRAMES, total_tokens: 20 + FRAMES };
const ANSWER = Buffer.from(
  JSON.stringify({
    ...IDENTITY,
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content: 'ok' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 1000, completion_tokens: 1, total_tokens: 1001 },
  }),
);

function chunk(choices: object[], more: object = {}): string {
  return `data: ${JSON.stringify({ ...IDENTITY, object: 'chat.completion.chunk', choices, ...more })}\n\n`;
}

const CONTENT = chunk([{ index: 0, delta: { content: ' word' }, finish_reason: null }]);
const END = [
  chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]),
  chunk([], { usage: USAGE }),
  'data: [DONE]\n\n',
].join('');

/** A frame every so many milliseconds by the clock, not after each other: what is late once is not late for ever. */
function stream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const began = performance.now();
  let sent = 0;
  const next = (): void => {
    if (response.destroyed) return;
    if (sent === FRAMES) {
      response.end(END);
      return;
    }
    response.write(CONTENT);
    sent++;
    setTimeout(next, Math.max(0, began + sent * FRAME_MS - performance.now()));
  };
  next();
}

const server = createServer((request, response) => {
  let isStream: boolean | null = null;
  request.on('data', (bytes: Buffer) => {
    isStream ??= bytes.includes(STREAM);
  });
  request.on('end', () => {
    if (isStream) return stream(response);
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': ANSWER.length });
    response.end(ANSWER);
  });
});

serveParent({ port: await listen(server) }, () => null);
