/** The simulator on a socket: API calls, and `POST /_sim/<verb>` for what Stripe's customers, banks and clocks do. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Answer, Api } from './api.ts';
import type { Method } from './core.ts';
import type { Deliverer } from './delivery.ts';

/** Runs one verb of control; throws when there is none of this name or it refuses. */
export type Command = (verb: string, args: unknown[]) => unknown;

/** A server that is not yet listening. */
export function httpServer(api: Api, delivery: Deliverer, command: Command): Server {
  return createServer((request, response) => {
    serve(request, response, { api, delivery, command }).catch((error: unknown) => {
      console.error('stripe-sim: a defect of the simulator', error);
      response.writeHead(500, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message: `stripe-sim: ${String(error)}`, type: 'api_error' } }));
    });
  });
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  parts: { api: Api; delivery: Deliverer; command: Command },
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString('utf8');
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  if (path.startsWith('/_sim/')) return control(path.slice('/_sim/'.length), body, response, parts.command);
  const method = request.method as Method;
  const answer = await parts.api.answer({ method, path, query, body, headers: request.headers });
  send(response, answer);
  if (parts.delivery.mode.when === 'auto') setImmediate(() => void parts.delivery.flush());
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  if (status === 'reset') {
    response.socket?.destroy();
    return;
  }
  if (status === 'cut') {
    response.writeHead(200, { ...headers, 'content-length': 1 });
    response.flushHeaders();
    setImmediate(() => response.socket?.destroy());
    return;
  }
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

async function control(verb: string, body: string, response: ServerResponse, command: Command): Promise<void> {
  let status = 200;
  let answer: unknown;
  try {
    const given: unknown = body === '' ? [] : JSON.parse(body);
    answer = await command(verb, Array.isArray(given) ? given : [given]);
  } catch (error) {
    status = 400;
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer ?? null));
}
