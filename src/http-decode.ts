/**
 * Compressed bodies of requests: gzip, deflate, br and zstd, as some clients send them unasked (Codex sends zstd). They are
 * inflated as they arrive, after the caller's key was accepted, and never to more than the server takes of a plain body: a
 * bomb is refused at that many bytes. What sees the body afterwards sees it as if it had come plain.
 */
import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { TollgateError } from './errors.ts';

/** What authenticates before it reads a body; so no webhook, whose very bytes are signed. */
const PLANES = /^\/(?:v1|account\/v1|admin\/v1)\//;
/** More than one is unheard of; each of many could blow up what the one before it left. */
const MOST_CODINGS = 2;
/** A window of 8 MiB, which RFC 9659 lets nobody exceed on the web: its decoder keeps as much in memory. */
const MOST_ZSTD_WINDOW_LOG = 23;
const PIECE = { chunkSize: 64 * 1024 };

type Coding = 'gzip' | 'x-gzip' | 'deflate' | 'br' | 'zstd';
type Decoder = zlib.Gunzip | zlib.Inflate | zlib.BrotliDecompress | zlib.ZstdDecompress;

const DECODERS: Readonly<Record<Coding, () => Decoder>> = {
  gzip: () => zlib.createGunzip(PIECE),
  'x-gzip': () => zlib.createGunzip(PIECE),
  deflate: () => zlib.createInflate(PIECE),
  br: () => zlib.createBrotliDecompress(PIECE),
  zstd: () =>
    zlib.createZstdDecompress({
      ...PIECE,
      params: { [zlib.constants.ZSTD_d_windowLogMax]: MOST_ZSTD_WINDOW_LOG },
    }),
};

/** Whether a compressed body is taken at that URL. */
export function takesEncoded(url: string): boolean {
  return PLANES.test(url);
}

/**
 * The body as its header says that it was before it was encoded. Throws `unsupported_encoding`; the stream fails with
 * `request_too_large`, or `invalid_request` where the bytes are not what the header says.
 */
export function decodedBody(body: Readable, header: string, length: string | undefined, maxBytes: number): Readable {
  const codings = codingsOf(header);
  if (codings.length === 0) return body;
  // The one that was applied last is the first to be undone.
  const plain = codings.reduceRight((from, coding) => decoded(from, coding, maxBytes), body);
  // Fastify compares what it was sent with the length that the client gave, which Node has made sure of.
  return Object.assign(plain, { receivedEncodedLength: length === undefined ? undefined : Number(length) });
}

function decoded(body: Readable, coding: Coding, maxBytes: number): Readable {
  const plain = Readable.from(inflated(body, coding, maxBytes), { objectMode: false });
  // Who reads it may have stopped to listen when it fails: what it had was enough to refuse the request.
  return plain.on('error', () => {});
}

function codingsOf(header: string): Coding[] {
  const named = header.split(',').map((name) => name.trim().toLowerCase());
  const codings = named.filter((name) => name !== 'identity' && name !== '');
  const known = codings.filter((name): name is Coding => Object.hasOwn(DECODERS, name));
  if (known.length < codings.length || named.length > MOST_CODINGS) throw new TollgateError('unsupported_encoding');
  return known;
}

async function* inflated(body: Readable, coding: Coding, maxBytes: number): AsyncGenerator<Buffer> {
  const decoder = DECODERS[coding]();
  const giveUp = (error = new Error('the body broke off')): void => {
    if (!body.readableEnded) decoder.destroy(error);
  };
  body.once('error', giveUp).once('close', giveUp);
  body.pipe(decoder);
  let bytes = 0;
  try {
    for await (const piece of decoder) {
      bytes += (piece as Buffer).length;
      if (bytes > maxBytes) throw new TollgateError('request_too_large');
      yield piece as Buffer;
    }
    if (!body.readableEnded) throw new Error('something follows the encoded body');
  } catch (error) {
    throw error instanceof TollgateError ? error : notThat(coding, error);
  } finally {
    body.off('error', giveUp).off('close', giveUp);
    body.unpipe(decoder);
    decoder.destroy();
  }
}

function notThat(coding: Coding, cause: unknown): TollgateError {
  return new TollgateError('invalid_request', {
    param: 'content-encoding',
    message: `Invalid header 'Content-Encoding': the body is not whole ${coding}. Send it as the header says, or without compression.`,
    cause,
  });
}
