/**
 * Ids are minted by us, never by a provider or a client, and are ordered by time.
 *
 * - Requests, holds, lots and entries: UUID version 7 (RFC 9562), 48 bits of milliseconds and 74 random bits. Unique
 *   without coordination, also between gateways whose clocks disagree.
 * - Accounts and API keys: 63-bit integers, 41 bits of milliseconds since 2025 and 22 random bits; they are rare and
 *   their tables refuse a collision.
 *
 * Outside they carry a prefix: `req_0190…` (32 hex digits), `acct_…` (13 characters of Crockford's base 32).
 */
import { randomBytes, randomFillSync } from 'node:crypto';
import type { Clock } from './clock.ts';

export type Uuid = string;

const POOL_BYTES = 16 * 256;
const pool = Buffer.alloc(POOL_BYTES);
let poolOffset = POOL_BYTES;

/** A new UUID v7 in its canonical text form. Entropy is drawn in pools, because one system call per id is dear. */
export function uuidv7(clock: Clock): Uuid {
  if (poolOffset === POOL_BYTES) {
    randomFillSync(pool);
    poolOffset = 0;
  }
  const at = poolOffset;
  poolOffset += 16;
  pool.writeUIntBE(clock.now(), at, 6);
  pool[at + 6] = 0x70 | (pool[at + 6]! & 0x0f);
  pool[at + 8] = 0x80 | (pool[at + 8]! & 0x3f);
  const hex = pool.toString('hex', at, at + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const EPOCH_2025_MS = 1_735_689_600_000;

/** A new 63-bit id for an account or a key. */
export function mintId(clock: Clock): bigint {
  const ms = BigInt(clock.now() - EPOCH_2025_MS) & ((1n << 41n) - 1n);
  return (ms << 22n) | BigInt(randomBytes(3).readUIntBE(0, 3) & 0x3fffff);
}

const BASE32 = '0123456789abcdefghjkmnpqrstvwxyz';

function toBase32(value: bigint): string {
  let text = '';
  for (let rest = value, i = 0; i < 13; i++, rest >>= 5n) text = BASE32[Number(rest & 31n)] + text;
  return text;
}

function fromBase32(text: string): bigint | null {
  if (text.length !== 13) return null;
  let value = 0n;
  for (const char of text) {
    const digit = BASE32.indexOf(char);
    if (digit < 0) return null;
    value = (value << 5n) | BigInt(digit);
  }
  return value > 0n && value < 1n << 63n ? value : null;
}

export type IntegerPrefix = 'acct' | 'key' | 'ent' | 'adm' | 'aud' | 'gw' | 'chk' | 'rch';
export type UuidPrefix = 'req' | 'lot' | 'hold' | 'entry';

/** `acct_…`, `key_…`: the public form of an integer id. */
export function publicId(prefix: IntegerPrefix, id: bigint): string {
  return `${prefix}_${toBase32(id)}`;
}

/** The integer behind `acct_…` or `key_…`; `null` when the text is not such an id. */
export function parsePublicId(prefix: IntegerPrefix, text: string): bigint | null {
  return text.startsWith(`${prefix}_`) ? fromBase32(text.slice(prefix.length + 1)) : null;
}

/** `req_…`, `lot_…`: the public form of a UUID. */
export function publicUuid(prefix: UuidPrefix, id: Uuid): string {
  return `${prefix}_${id.replaceAll('-', '')}`;
}

const HEX_32 = /^[0-9a-f]{32}$/;

/** The UUID behind `req_…` or `lot_…`; `null` when the text is not such an id. */
export function parsePublicUuid(prefix: UuidPrefix, text: string): Uuid | null {
  if (!text.startsWith(`${prefix}_`)) return null;
  const hex = text.slice(prefix.length + 1);
  if (!HEX_32.test(hex)) return null;
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
