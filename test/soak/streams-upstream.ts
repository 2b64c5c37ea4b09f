/**
 * The upstream of the streams soak: it sends each stream's frames at the pace that its request asks for; it hears sounds, of which it
 * keeps nothing, and has one large picture to answer with.
 */
import { createServer, type ServerResponse } from 'node:http';
import { listen, serveParent } from '../bench/child.ts';
import { frameOf, framesIn, LARGE, type Wanted, wantedOf } from './streams-wire.ts';

/** Of those that a client or gateway broke off. */
let broken = 0;

function send(response: ServerResponse, wanted: Wanted): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.socket!.setNoDelay(true);
  let next = 0;
  const tick = (): void => {
    response.write(frameOf(wanted, next++));
    if (next < wanted.frames) return;
    // As providers do: the usage and the end come at once with the last word.
    clearInterval(timer);
    while (next < framesIn(wanted)) response.write(frameOf(wanted, next++));
    response.end();
  };
  const timer = setInterval(tick, wanted.everyMs);
  response.on('close', () => {
    clearInterval(timer);
    if (!response.writableFinished) broken++;
  });
  tick();
}

const PICTURE = JSON.stringify({ created: 1, data: [{ b64_json: 'A'.repeat(LARGE.pictureBytes) }] });

const server = createServer((request, response) => {
  if (!request.url!.endsWith('/chat/completions')) {
    const answer = request.url!.endsWith('/images/generations') ? PICTURE : '{"text":"Long."}';
    request.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(answer));
    return;
  }
  const body: Buffer[] = [];
  request.on('data', (chunk: Buffer) => body.push(chunk));
  request.on('end', () => send(response, wantedOf(Buffer.concat(body).toString())));
});
// Longer than a run: a connection that closes between two parts would look like a fault.
server.keepAliveTimeout = 3_600_000;

serveParent({ port: await listen(server) }, () => ({ broken }));
