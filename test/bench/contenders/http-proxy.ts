/** @fastify/http-proxy as its documentation shows it. */
import proxy from '@fastify/http-proxy';
import { fastify } from 'fastify';
import { listen, serveParent } from '../child.ts';

const app = fastify();
await app.register(proxy, { upstream: process.argv[2]! });
await app.ready();

serveParent({ port: await listen(app.server) }, () => null);
