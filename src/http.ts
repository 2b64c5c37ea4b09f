/** The HTTP server all planes share: limits, ids, and errors in OpenAI's form, also where Node itself would answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { presentedKey } from './accounts/authenticate.ts';
import { type ErrorCode, TollgateError } from './errors.ts';
import { decodedBody, takesEncoded } from './http-decode.ts';
import type { Clock } from './lib/clock.ts';
import { publicUuid, uuidv7 } from './lib/ids.ts';
import { siteOf } from './lib/networks.ts';
import { RateLimit } from './lib/rate-limit.ts';
import type { Logger } from './observe/log.ts';

/** Keys that failed, by the site that they came from: the planes of a gateway share one. */
export type FailedKeys = RateLimit<string>;

/** A guesser has so many tries a minute; a key of 196 random bits, or a mistyped one, is none the worse for it. */
export function countFailedKeys(clock: Clock): FailedKeys {
  return new RateLimit(FAILED_KEYS_PER_MINUTE, 60_000, clock);
}

export interface HttpOptions {
  maxBodyBytes: number;
  /** Addresses and CIDRs of proxies whose `x-forwarded-for` is believed: the client is the last address that is none of them. */
  trustedProxies?: readonly string[];
  /** The URL that a request is routed by, where it is another than it came with. */
  rewriteUrl?: (request: IncomingMessage) => string;
  /** Without it, guessing is not slowed. */
  failedKeys?: FailedKeys;
  /** A client that takes longer to send its headers, or its whole request, gets `request_timeout`. */
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  /** A client that takes nothing of the rest of its answer for so long is cut off. */
  stallMs?: number;
  clock: Clock;
  log: Logger;
}

const FAILED_KEYS_PER_MINUTE = 20;
const MAX_HEADER_BYTES = 64 * 1024;
/** Of a part of a path: an id of 255 characters, each as up to nine when it is percent-encoded. */
const MAX_PARAM_CHARS = 255 * 9;
/** Above the idle limits of load balancers, so that it is they who close. */
const KEEP_ALIVE_MS = 75_000;
/** Another than that one, by which it is told whether Node has set it. */
const STALL_MS = 60_000;

export function createHttp(options: HttpOptions): FastifyInstance {
  const { trustedProxies = [] } = options;
  const app = fastify({
    logger: false,
    trustProxy: trustedProxies.length > 0 && [...trustedProxies],
    bodyLimit: options.maxBodyBytes,
    ...(options.rewriteUrl === undefined ? {} : { rewriteUrl: options.rewriteUrl }),
    genReqId: () => publicUuid('req', uuidv7(options.clock)),
    requestIdHeader: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: options.requestTimeoutMs,
    exposeHeadRoutes: false,
    // A request that comes while we stop is answered by its route, in our own form.
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: MAX_PARAM_CHARS },
    // A path that is no URL never reaches the handlers below.
    frameworkErrors: (thrown, request, reply) => answer(toPublicError(thrown), request, reply),
    clientErrorHandler: (error, socket) => answerBrokenClient(error, socket),
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: options.headersTimeoutMs,
      connectionsCheckingInterval: Math.min(5_000, Math.max(250, options.headersTimeoutMs / 4)),
    },
  });
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const { 'content-encoding': encoding, 'content-length': length } = request.headers;
    // Of what nobody serves no body is read, nor inflated: nobody has shown a key for it.
    if (request.is404) done(unknownUrl(request));
    else if (encoding === undefined || !takesEncoded(request.raw.url!)) done();
    else done(null, decodedBody(payload as Readable, encoding, length, options.maxBodyBytes));
  });
  // Before the handler, which may answer at once.
  app.server.prependListener('request', (_, response) => cutStalled(response, options.stallMs ?? STALL_MS));
  app.setErrorHandler((thrown, request, reply) => {
    const error = slowed(toPublicError(thrown), request, options.failedKeys);
    if (error.code === 'internal_error') {
      options.log.error({ req: request.id, err: thrown, route: request.routeOptions.url }, 'request failed');
    }
    return answer(error, request, reply);
  });
  app.setNotFoundHandler((request, reply) => answer(unknownUrl(request), request, reply));
  return app;
}

function unknownUrl(request: FastifyRequest): TollgateError {
  const path = request.originalUrl.split('?', 1)[0]!;
  return new TollgateError('unknown_url', {
    message: `Unknown URL (${request.method} ${path}). Only metered endpoints are served: docs/endpoints.md lists them.`,
  });
}

/**
 * Cuts a client off that takes nothing of the rest of its answer, once that is all written. One that takes a little now and then
 * is only slow. Afterwards Node sets the idle timeout; but not where a next request waits already, which may take its time.
 */
function cutStalled(response: ServerResponse, stallMs: number): void {
  response.once('prefinish', () => {
    const { socket } = response;
    // Most have taken all of it by now: they are not waited for.
    if (socket === null || socket.writableLength === 0) return;
    socket.setTimeout(stallMs);
    response.once('finish', () => {
      if (socket.timeout === stallMs) socket.setTimeout(0);
    });
  });
}

/** A failed key's refusal, or from a site that sent too many of them, how long to wait. Valid keys never come here. */
function slowed(error: TollgateError, request: FastifyRequest, failedKeys?: FailedKeys): TollgateError {
  const failed = error.code === 'invalid_api_key' || error.code === 'invalid_admin_key';
  if (!failed || failedKeys === undefined || presentedKey(request.headers) === null) return error;
  const retryAfterMs = failedKeys.take(siteOf(request.ip));
  if (retryAfterMs === 0) return error;
  return new TollgateError('rate_limit_exceeded', {
    retryAfterMs,
    message:
      'Too many wrong keys came from this address. Send a valid key, or wait as long as the retry-after header says.',
  });
}

function answer(error: TollgateError, request: { id: string }, reply: FastifyReply): FastifyReply {
  return reply.status(error.status).headers(error.headers()).header('x-request-id', request.id).send(error.body());
}

/** Fastify's own refusals under our codes. */
const FASTIFY_ERRORS: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'request_too_large',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid_json',
  FST_ERR_CTP_INVALID_JSON_BODY: 'invalid_json',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'invalid_request',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'invalid_json',
  FST_ERR_BAD_URL: 'unknown_url',
  // Nothing has so long a name.
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
};

export function toPublicError(thrown: unknown): TollgateError {
  if (thrown instanceof TollgateError) return thrown;
  const code = (thrown as { code?: unknown }).code;
  const known = typeof code === 'string' ? FASTIFY_ERRORS[code] : undefined;
  if (known !== undefined) return new TollgateError(known, { cause: thrown });
  if (thrown instanceof SyntaxError) return new TollgateError('invalid_json', { cause: thrown });
  return new TollgateError('internal_error', { cause: thrown });
}

/** Requests that never became one: broken, too large a head, too slow. Node would answer without a body. */
function answerBrokenClient(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const code: ErrorCode =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'headers_too_large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request_timeout'
        : 'invalid_request';
  const answer = new TollgateError(code);
  const body = JSON.stringify(answer.body());
  socket.end(
    `HTTP/1.1 ${answer.status} ${code}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
