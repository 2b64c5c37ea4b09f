/**
 * `sk-tg-<public id>-<secret><checksum>`: 13 characters that name the key (those of `key_…`), 33 of base 62 drawn at
 * random (196 bits), 6 of base 62 that are the CRC-32 of all before. The checksum tells a mistyped key from a wrong one
 * without a look-up, and lets secret scanners be sure. Only the SHA-256 of the secret is kept. Keys of the admin API are the same
 * behind `tg-admin-`.
 */
import { hash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { parsePublicId, publicId } from '../lib/ids.ts';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SECRET_CHARS = 33;
const CHECKSUM_CHARS = 6;
const PUBLIC_CHARS = 13;
const CHARS_AFTER_PREFIX = PUBLIC_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;

/** What the text of a key begins with: which plane it is for. */
export type KeyPrefix = 'sk-tg-' | 'tg-admin-';

/** A presented key, taken apart. */
export interface PresentedKey {
  /** The public characters: what follows `key_` in its id. */
  name: string;
  secretHash: Buffer;
}

/** A new secret for a key id: the text to show once, and the hash to keep. */
export function mintKey(key: bigint, prefix: KeyPrefix = 'sk-tg-'): { text: string; secretHash: Buffer } {
  let secret = '';
  for (let i = 0; i < SECRET_CHARS; i++) secret += BASE62[randomInt(62)];
  const body = `${prefix}${keyNameOf(key)}-${secret}`;
  return { text: body + checksum(body), secretHash: hashSecret(secret) };
}

/** Takes a presented key apart; `null` when it cannot be one of ours. */
export function parseKey(text: string, prefix: KeyPrefix = 'sk-tg-'): PresentedKey | null {
  if (text.length !== prefix.length + CHARS_AFTER_PREFIX || !text.startsWith(prefix)) return null;
  const body = text.slice(0, -CHECKSUM_CHARS);
  if (checksum(body) !== text.slice(-CHECKSUM_CHARS)) return null;
  const name = body.slice(prefix.length, prefix.length + PUBLIC_CHARS);
  return { name, secretHash: hashSecret(body.slice(-SECRET_CHARS)) };
}

/** The id of the key with those public characters; `null`: no key can have them. */
export function keyIdOf(name: string): bigint | null {
  return parsePublicId('key', `key_${name}`);
}

/** The public characters of a key. */
export function keyNameOf(key: bigint): string {
  return publicId('key', key).slice('key_'.length);
}

function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}

function checksum(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let i = 0; i < CHECKSUM_CHARS; i++, rest = Math.floor(rest / 62)) text = BASE62[rest % 62] + text;
  return text;
}
