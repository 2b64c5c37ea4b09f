/** The upstream: it answers at once, and keeps account of the usage that it said it served to be metered. */
import { createServer, type ServerResponse } from 'node:http';
import { listen, serveParent } from './child.ts';
import { type Answer, answers, METERED_PREFIX } from './workload.ts';

/** What was served to be metered. */
export interface Served {
  requests: number;
  input: number;
  output: number;
}

const STREAM = Buffer.from('"stream":true');
const JSON_ANSWERS = answers('json');
const STREAM_ANSWERS = answers('sse');
const STREAM_BYTES = new Map(STREAM_ANSWERS.map((answer) => [answer, chunked(answer.parts)]));

const served: Served = { requests: 0, input: 0, output: 0 };
let count = 0;

function chunked(parts: readonly Buffer[]): Buffer {
  const chunk = (part: Buffer): string => `${part.length.toString(16)}\r\n${part.toString('latin1')}\r\n`;
  return Buffer.from([...parts, Buffer.alloc(0)].map(chunk).join(''), 'latin1');
}

function send(response: ServerResponse, answer: Answer, stream: boolean): void {
  if (!stream) {
    const body = answer.parts[0]!;
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
    response.end(body);
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked' });
  // Node would join what is written in one turn into one chunk; a provider sends each frame in a chunk of its own.
  response.chunkedEncoding = false;
  response.end(STREAM_BYTES.get(answer));
}

const server = createServer((request, response) => {
  let stream = false;
  // The body is never split: it comes in one write of 1 KB, and only its end says that it is whole.
  request.on('data', (chunk: Buffer) => {
    stream ||= chunk.includes(STREAM);
  });
  request.on('end', () => {
    const answer = (stream ? STREAM_ANSWERS : JSON_ANSWERS)[count++ % JSON_ANSWERS.length]!;
    if (request.url!.startsWith(METERED_PREFIX)) {
      served.requests++;
      served.input += answer.usage.input;
      served.output += answer.usage.output;
    }
    send(response, answer, stream);
  });
});
// Longer than a run: a connection that closes between two phases would look like a fault of the contender.
server.keepAliveTimeout = 3_600_000;

serveParent({ port: await listen(server) }, () => served);
