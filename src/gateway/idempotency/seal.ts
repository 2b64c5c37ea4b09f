/**
 * What is kept of an answer, sealed so that the database alone cannot give it away: AES-256-GCM under a key that HKDF draws
 * from the caller's API key (196 random bits, of which the database has a hash only) and a salt of its own. What stands beside
 * it are MACs under the API key, since a plain hash of a prompt could be guessed at.
 */
import { createCipheriv, createDecipheriv, createHmac, type DecipherGCM, hkdfSync, randomBytes } from 'node:crypto';

/** An answer as its client got it. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[]>;
  body: Buffer;
}

const CIPHER = 'aes-256-gcm';
const SALT_BYTES = 32;
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const LENGTH_BYTES = 4;

/** A MAC of the parts, in this order, under the API key: 32 bytes. No two lists of parts are written alike. */
export function macOf(apiKey: string, ...parts: readonly (string | Buffer)[]): Buffer {
  const mac = createHmac('sha256', apiKey);
  for (const part of parts) mac.update(lengthOf(Buffer.byteLength(part))).update(part);
  return mac.digest();
}

/** Seals an answer to the place it is kept at: moved to another one, it does not open. */
export function sealAnswer(apiKey: string, place: Buffer, { status, headers, body }: Answer): Buffer {
  const salt = randomBytes(SALT_BYTES);
  const { key, iv } = drawKey(apiKey, salt);
  const cipher = createCipheriv(CIPHER, key, iv).setAAD(place);
  const head = Buffer.from(JSON.stringify({ status, headers }));
  const sealed = [cipher.update(lengthOf(head.length)), cipher.update(head), cipher.update(body), cipher.final()];
  return Buffer.concat([salt, cipher.getAuthTag(), ...sealed]);
}

/**
 * Opens what `sealAnswer` sealed, given in pieces, of which the first has the salt and the tag. Throws when it was sealed with
 * another key or to another place, or was changed since.
 */
export async function openAnswer(
  apiKey: string,
  place: Buffer,
  sealed: AsyncIterable<Buffer> | Iterable<Buffer>,
): Promise<Answer> {
  const bodyAt = SALT_BYTES + TAG_BYTES;
  let decipher: DecipherGCM | null = null;
  const opened: Buffer[] = [];
  for await (const piece of sealed) {
    if (decipher === null) {
      const { key, iv } = drawKey(apiKey, piece.subarray(0, SALT_BYTES));
      decipher = createDecipheriv(CIPHER, key, iv).setAAD(place).setAuthTag(piece.subarray(SALT_BYTES, bodyAt));
      opened.push(decipher.update(piece.subarray(bodyAt)));
    } else opened.push(decipher.update(piece));
  }
  if (decipher === null) throw new Error('nothing was sealed');
  const open = Buffer.concat([...opened, decipher.final()]);
  const headEnd = LENGTH_BYTES + open.readUInt32BE();
  const head = JSON.parse(open.toString('utf8', LENGTH_BYTES, headEnd)) as Omit<Answer, 'body'>;
  return { ...head, body: open.subarray(headEnd) };
}

/** The salt is used once, so the key is, and its first block may come from the same source. */
function drawKey(apiKey: string, salt: Buffer): { key: Buffer; iv: Buffer } {
  const drawn = Buffer.from(hkdfSync('sha256', apiKey, salt, 'tollgate idempotent answer', KEY_BYTES + IV_BYTES));
  return { key: drawn.subarray(0, KEY_BYTES), iv: drawn.subarray(KEY_BYTES) };
}

function lengthOf(length: number): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES);
  bytes.writeUInt32BE(length);
  return bytes;
}
