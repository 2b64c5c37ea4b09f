/**
 * Where the top-level members of a JSON object stand in its bytes, so that one can be changed by a splice and all else
 * stays as it came. The bytes must be known to be one valid JSON object: `JSON.parse` has accepted them.
 */

export interface Member {
  /** Unescaped. */
  key: string;
  keyStart: number;
  valueStart: number;
  valueEnd: number;
}

export interface ScannedObject {
  /** In order, duplicates kept. */
  members: Member[];
  /** The offset of the closing brace. */
  end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
/** Longer strings are skipped by a native search, which costs more than it saves in shorter ones. */
const SHORT_STRING_BYTES = 64;

/** Finds the members of the object that the bytes are. Linear, and no deeper on the stack however deep the values nest. */
export function scanObject(bytes: Buffer): ScannedObject {
  const members: Member[] = [];
  let at = skipSpace(bytes, 0) + 1;
  for (;;) {
    at = skipSpace(bytes, at);
    if (bytes[at] === CLOSE_BRACE) return { members, end: at };
    if (bytes[at] === COMMA) {
      at++;
      continue;
    }
    const keyStart = at;
    const keyEnd = skipString(bytes, at);
    const valueStart = skipSpace(bytes, skipSpace(bytes, keyEnd) + 1);
    const valueEnd = skipValue(bytes, valueStart);
    members.push({ key: unescaped(bytes, keyStart, keyEnd), keyStart, valueStart, valueEnd });
    at = valueEnd;
  }
}

function unescaped(bytes: Buffer, start: number, end: number): string {
  const raw = bytes.toString('utf8', start + 1, end - 1);
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at]! <= 0x20) at++;
  return at;
}

/** The offset after the string that begins at `from`. */
function skipString(bytes: Buffer, from: number): number {
  const near = Math.min(from + SHORT_STRING_BYTES, bytes.length);
  for (let at = from + 1; at < near; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte === BACKSLASH) at++;
  }
  return skipLongString(bytes, from);
}

function skipLongString(bytes: Buffer, from: number): number {
  let at = from + 1;
  for (;;) {
    at = bytes.indexOf(QUOTE, at);
    let backslashes = 0;
    while (bytes[at - 1 - backslashes] === BACKSLASH) backslashes++;
    at++;
    if (backslashes % 2 === 0) return at;
  }
}

function skipValue(bytes: Buffer, from: number): number {
  const first = bytes[from];
  if (first === QUOTE) return skipString(bytes, from);
  let at = from;
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    while (bytes[at]! > 0x20 && bytes[at] !== COMMA && bytes[at] !== CLOSE_BRACE && bytes[at] !== CLOSE_BRACKET) at++;
    return at;
  }
  let depth = 0;
  for (;;) {
    const byte = bytes[at]!;
    if (byte === QUOTE) {
      at = skipString(bytes, at);
      continue;
    }
    at++;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) return at;
  }
}

/** A replacement of the bytes from `start` to `end`. */
export interface Edit {
  start: number;
  end: number;
  replacement: string;
}

/** Applies edits that do not overlap; the bytes between them are copied as they are. */
export function splice(bytes: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return bytes;
  const pieces: Buffer[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    pieces.push(bytes.subarray(at, edit.start), Buffer.from(edit.replacement));
    at = edit.end;
  }
  pieces.push(bytes.subarray(at));
  return Buffer.concat(pieces);
}
