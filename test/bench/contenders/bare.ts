/**
 * The yardstick: a bare proxy as a good engineer writes it on Fastify and undici. No key, no metering: the body as a
 * buffer, `request` of an undici pool, the answer's body sent on as a stream.
 */
import { fastify } from 'fastify';
import { Pool } from 'undici';
import { listen, serveParent } from '../child.ts';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'host']);

type Headers = Record<string, string | string[] | undefined>;

function endToEnd(headers: Headers): Headers {
  const kept: Headers = {};
  for (const name in headers) if (!HOP_BY_HOP.has(name)) kept[name] = headers[name];
  return kept;
}

const pool = new Pool(process.argv[2]!, { connections: 256, pipelining: 1 });
const app = fastify({ bodyLimit: 64 * 1024 * 1024 });
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
app.post('/v1/*', async (request, reply) => {
  const { statusCode, headers, body } = await pool.request({
    method: 'POST',
    path: request.url,
    headers: endToEnd(request.headers),
    body: request.body as Buffer,
  });
  return reply.code(statusCode).headers(endToEnd(headers)).send(body);
});
await app.ready();

serveParent({ port: await listen(app.server) }, () => null);
