/**
 * A form as a client sends it: read once, part by part, while its bytes go to where they are kept until they are sent on. A form
 * that is at fault is read to its end all the same, unkept, so that its client hears what is wrong with it.
 *
 *   reading ──end──▶ whole
 *      ├── a fault ──▶ discarding ──end──▶ refused            ├── too large, no room ──▶ refused at once
 *      └── the client hangs up ──▶ gone: nothing of it is left
 */
import { createHash, type Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { TollgateError } from '../errors.ts';
import type { Edit } from '../lib/json-scan.ts';
import { boundaryOf, FormFault, MultipartParser, type PartHead } from '../lib/multipart.ts';
import type { Form, FormPart } from '../metering/requests/types.ts';
import type { StreamedBody } from '../upstream/types.ts';
import { SpooledBody } from './body.ts';
import type { Spool } from './spool.ts';

/** A field of text; what is longer is a file. */
const MOST_FIELD_BYTES = 4 * 1024 * 1024;
/** What is kept of a field, to be read, and of all of them together. */
const KEPT_FIELD_BYTES = 256 * 1024;
const KEPT_BYTES = 1024 * 1024;

export interface UploadOptions {
  spool: Spool;
  /** Who sends it. */
  account: bigint;
  maxBytes: number;
  /** Whether a fingerprint is wanted. */
  fingerprint: boolean;
}

export class Upload implements Form {
  readonly parts: readonly FormPart[];
  /**
   * What its parts are: their headers and values, 32 bytes. Two that differ in their boundary alone have the same, since official
   * clients draw a new one whenever they try again. `null`: none was wanted.
   */
  readonly fingerprint: Buffer | null;
  readonly #body: SpooledBody;
  readonly #boundary: string;
  readonly #first: number;

  constructor(body: SpooledBody, boundary: string, { parts, fingerprint, first }: PartsRead) {
    this.#body = body;
    this.#boundary = boundary;
    this.parts = parts;
    this.fingerprint = fingerprint;
    this.#first = first;
  }

  /** Bytes. */
  get length(): number {
    return this.#body.length;
  }

  read(start: number, end: number): Promise<Buffer> {
    return this.#body.read(start, end);
  }

  /** The body as it goes upstream: with the provider's own name of the model and these fields, and all else as it came. */
  sentAs(model: string, fields: readonly (readonly [name: string, value: string])[] = []): StreamedBody {
    return this.#body.edited([['model', model] as const, ...fields].flatMap(([name, value]) => this.#set(name, value)));
  }

  /** Every part of that name, or one that is added as the first. */
  #set(name: string, value: string): Edit[] {
    const own = this.parts.filter((part) => part.name === name);
    if (own.length > 0) {
      return own.filter(({ text }) => text !== value).map(({ span }) => ({ ...span, replacement: value }));
    }
    const part = `--${this.#boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    return [{ start: this.#first, end: this.#first, replacement: part }];
  }

  /** It is not needed any more: its file is gone. Never throws. */
  close(): Promise<void> {
    return this.#body.close();
  }
}

/**
 * Reads a form. Throws `invalid_request`, `request_too_large` or `overloaded`; what the stream breaks with where the client hangs
 * up, or sends what cannot be decoded.
 */
export async function readUpload(
  payload: Readable,
  contentType: string,
  { spool, account, maxBytes, fingerprint }: UploadOptions,
): Promise<Upload> {
  const body = new SpooledBody(spool, account);
  try {
    const boundary = orFault(() => boundaryOf(contentType));
    const reader = new PartsReader(fingerprint);
    const parser = boundary instanceof FormFault ? null : new MultipartParser(boundary, reader);
    let fault = boundary instanceof FormFault ? boundary : null;
    let length = 0;
    // Left early, it must not break the connection: its client is still to be told why.
    for await (const chunk of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBytes) throw new TollgateError('request_too_large');
      fault ??= orFault(() => parser!.push(chunk)) ?? null;
      if (fault === null) await body.add(chunk);
    }
    fault ??= orFault(() => parser!.end()) ?? null;
    if (fault !== null) throw refusal(fault);
    await body.finish();
    const { parts, fingerprint: read } = reader.whole();
    const texts = await withTexts(parts, body);
    return new Upload(body, boundary as string, { parts: texts, fingerprint: read, first: parser!.first });
  } catch (error) {
    await body.close();
    throw error;
  }
}

/** The parts, with the text of the fields, as much as is kept of it. */
async function withTexts(parts: readonly FormPart[], body: SpooledBody): Promise<FormPart[]> {
  const all: FormPart[] = [];
  let kept = 0;
  for (const part of parts) {
    const { start, end } = part.span;
    const bytes = end - start;
    const isKept = !part.isFile && bytes <= KEPT_FIELD_BYTES && kept + bytes <= KEPT_BYTES;
    if (isKept) kept += bytes;
    all.push(isKept ? { ...part, text: (await body.read(start, end)).toString('utf8') } : part);
  }
  return all;
}

/** What it gives, or the fault of the form that it found. */
function orFault<T>(read: () => T): T | FormFault {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormFault) return error;
    throw error;
  }
}

function refusal({ message, field }: FormFault): TollgateError {
  return new TollgateError('invalid_request', {
    param: field,
    message: `This multipart/form-data cannot be read: ${message}.`,
  });
}

interface PartsRead {
  parts: readonly FormPart[];
  fingerprint: Buffer | null;
  first: number;
}

/** Notes the parts of a form as they pass. */
class PartsReader {
  readonly #parts: FormPart[] = [];
  readonly #all: Hash | null;
  #value: Hash | null = null;
  #part: { head: PartHead; start: number; bytes: number } | null = null;

  constructor(fingerprint: boolean) {
    this.#all = fingerprint ? createHash('sha256') : null;
  }

  onPart(head: PartHead, headers: Buffer, start: number): void {
    this.#part = { head, start, bytes: 0 };
    if (this.#all === null) return;
    this.#all.update(`${headers.length}:`).update(headers);
    this.#value = createHash('sha256');
  }

  onValue(bytes: Buffer): void {
    const part = this.#part!;
    this.#value?.update(bytes);
    part.bytes += bytes.length;
    const { name, isFile } = part.head;
    if (!isFile && part.bytes > MOST_FIELD_BYTES) throw new FormFault(`the field ${name} is too long`, name);
  }

  onPartEnd(end: number): void {
    const { head, start } = this.#part!;
    this.#parts.push({ name: head.name, isFile: head.isFile, text: null, span: { start, end } });
    if (this.#value !== null) this.#all!.update(this.#value.digest());
  }

  whole(): Omit<PartsRead, 'first'> {
    return { parts: this.#parts, fingerprint: this.#all?.digest() ?? null };
  }
}
