/**
 * The least a proxy on Fastify and undici can do: undici's dispatch, and the answer's bytes written past Fastify as they
 * come, with backpressure. Nobody writes a proxy like this who does not have to; it shows how far down there is to go.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { fastify } from 'fastify';
import { type Dispatcher, Pool } from 'undici';
import { listen, serveParent } from '../child.ts';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'host']);

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  onRequestStart(): void {}

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.#response.writeHead(status, endToEnd(headers));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#response.write(chunk)) return;
    controller.pause();
    this.#response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#response.end();
  }

  onResponseError(): void {
    if (this.#response.headersSent) this.#response.destroy();
    else this.#response.writeHead(502).end();
  }
}

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const kept: IncomingHttpHeaders = {};
  for (const name in headers) if (!HOP_BY_HOP.has(name)) kept[name] = headers[name];
  return kept;
}

const pool = new Pool(process.argv[2]!, { connections: 256, pipelining: 1 });
const app = fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
app.post('/v1/*', (request, reply) => {
  reply.hijack();
  const headers = endToEnd(request.headers);
  const body = request.body as Buffer;
  pool.dispatch({ method: 'POST', path: request.url, headers, body }, new Relay(reply.raw));
});
await app.ready();

serveParent({ port: await listen(app.server) }, () => null);
