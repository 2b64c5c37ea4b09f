/**
 * Reads multipart/form-data as it comes, in chunks that are split anywhere: what each part is, and where its value stands. It
 * keeps nothing and changes nothing, so that the bytes can go on as they came. It takes one form only, the one that all clients
 * send: what two parsers could read in two ways is refused.
 *
 *   opening ──boundary──▶ delimited ──CRLF──▶ headers ──empty line──▶ value ──CRLF, boundary──▶ delimited
 *                             └──"--"──▶ closed: a last line end, and nothing else, may follow
 */

export interface PartHead {
  /** As it was sent: a list's may end in `[]`. */
  name: string;
  /** Whether it is sent as a file: with a name of its own. */
  isFile: boolean;
  filename: string | null;
  contentType: string | null;
}

/** What is heard of a form, in the order of its bytes. Offsets count from the first byte of the body. */
export interface FormListener {
  /** A part begins: its headers as they stand, and where its value starts. */
  onPart(head: PartHead, headers: Buffer, start: number): void;
  /** Bytes of the value of the part that began last. They may be views of the chunk: copy what you keep. */
  onValue(bytes: Buffer): void;
  /** Its value ends before this offset. */
  onPartEnd(end: number): void;
}

/** What is wrong with a form, as its client may be told. `field`: of which one, where that is known. */
export class FormFault extends Error {
  readonly field: string | null;

  constructor(message: string, field: string | null = null) {
    super(message);
    this.field = field;
  }
}

const MOST_PARTS = 100;
const MOST_HEADER_BYTES = 4_096;
const MOST_BOUNDARY_CHARS = 70;

const CRLF = Buffer.from('\r\n');
const END_OF_HEADERS = Buffer.from('\r\n\r\n');
const DASHES = Buffer.from('--');
const NOTHING = Buffer.alloc(0);

const FORM_TYPE = /^multipart\/form-data\s*(?=;|$)/i;
const PARAMETER = /\s*;\s*([a-z][a-z0-9_-]*)=(?:"([^"\\\r\n]*)"|([^\s";,]+))/iy;
const BOUNDARY = new RegExp(`^[A-Za-z0-9'()+_,./:=? -]{0,${MOST_BOUNDARY_CHARS - 1}}[A-Za-z0-9'()+_,./:=?-]$`);

/** Whether a body of this content type is a form. */
export function isForm(contentType: string | undefined): boolean {
  return contentType !== undefined && FORM_TYPE.test(contentType);
}

/** The boundary that a content type states. Throws `FormFault` where it states none, or two. */
export function boundaryOf(contentType: string): string {
  const boundary = parameters(contentType.replace(FORM_TYPE, ''))?.get('boundary');
  if (boundary === undefined || !BOUNDARY.test(boundary)) {
    throw new FormFault(`the content-type must state one boundary, of 1 to ${MOST_BOUNDARY_CHARS} characters`);
  }
  return boundary;
}

/** Parameters of a header, each at most once; `null`: they are written in another way. */
function parameters(text: string): Map<string, string> | null {
  const found = new Map<string, string>();
  const rest = text.trimEnd();
  for (PARAMETER.lastIndex = 0; PARAMETER.lastIndex < rest.length; ) {
    const match = PARAMETER.exec(rest);
    if (match === null) return null;
    const name = match[1]!.toLowerCase();
    if (found.has(name)) return null;
    found.set(name, match[2] ?? match[3]!);
  }
  return found;
}

type State = 'opening' | 'delimited' | 'headers' | 'value' | 'closed';

export class MultipartParser {
  readonly #listener: FormListener;
  /** Two dashes and the boundary. It stands nowhere but between parts: else it would be read so by others. */
  readonly #dashed: Buffer;
  #state: State = 'opening';
  /** What could not be decided by the chunks so far. */
  #rest: Buffer = NOTHING;
  /** Offset of the first byte of `#rest`. */
  #at = 0;
  #parts = 0;
  #first: number | null = null;

  constructor(boundary: string, listener: FormListener) {
    this.#dashed = Buffer.from(`--${boundary}`);
    this.#listener = listener;
  }

  /** Where the first boundary stands: a part can be added before it. */
  get first(): number {
    return this.#first ?? 0;
  }

  /** Takes the next bytes. Throws `FormFault`. */
  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#step());
    // A view would keep its whole chunk.
    if (this.#rest.length > 0) this.#rest = Buffer.from(this.#rest);
  }

  /** There are no more bytes. Throws `FormFault` where the form is not whole. */
  end(): void {
    if (this.#state !== 'closed' || this.#rest.length > 0)
      throw new FormFault('the form ends before its last boundary');
    if (this.#parts === 0) throw new FormFault('the form has no fields');
  }

  /** Whether more can be read of what is at hand. */
  #step(): boolean {
    switch (this.#state) {
      case 'opening':
        return this.#open();
      case 'delimited':
        return this.#delimit();
      case 'headers':
        return this.#readHeaders();
      case 'value':
        return this.#readValue();
      default:
        return this.#close();
    }
  }

  /** The first boundary, before which a line may end. */
  #open(): boolean {
    const start = begins(this.#rest, CRLF) ? CRLF.length : 0;
    if (this.#rest.length < start + this.#dashed.length) {
      const could = this.#rest.subarray(start).equals(this.#dashed.subarray(0, this.#rest.length - start));
      if (!could && !CRLF.subarray(0, this.#rest.length).equals(this.#rest)) throw notOpened();
      return false;
    }
    if (!begins(this.#rest.subarray(start), this.#dashed)) throw notOpened();
    this.#first = this.#at + start;
    this.#take(start + this.#dashed.length);
    this.#state = 'delimited';
    return true;
  }

  #delimit(): boolean {
    if (this.#rest.length < 2) return false;
    if (begins(this.#rest, DASHES)) this.#state = 'closed';
    else if (begins(this.#rest, CRLF)) this.#state = 'headers';
    else throw new FormFault('a boundary is followed by neither a line end nor two dashes');
    // The line end stays: it is what an empty list of headers would begin with.
    if (this.#state === 'closed') this.#take(DASHES.length);
    else if (++this.#parts > MOST_PARTS) throw new FormFault(`the form has more than ${MOST_PARTS} parts`);
    return true;
  }

  #readHeaders(): boolean {
    const end = this.#rest.indexOf(END_OF_HEADERS);
    if (end > MOST_HEADER_BYTES || (end < 0 && this.#rest.length > MOST_HEADER_BYTES)) {
      throw new FormFault(`the headers of a part have more than ${MOST_HEADER_BYTES} bytes`);
    }
    if (end < 0) return false;
    const headers = Buffer.from(this.#rest.subarray(CRLF.length, end));
    if (headers.includes(this.#dashed)) throw misplaced();
    const head = readHead(headers);
    this.#take(end + END_OF_HEADERS.length);
    this.#state = 'value';
    this.#listener.onPart(head, headers, this.#at);
    return true;
  }

  /** The value up to the next boundary, or as much of it as surely is one. */
  #readValue(): boolean {
    const found = this.#rest.indexOf(this.#dashed);
    if (found < 0) {
      // The last bytes may be a line end and the beginning of a boundary.
      const sure = this.#rest.length - (this.#dashed.length - 1) - CRLF.length;
      if (sure > 0) this.#emit(sure);
      return false;
    }
    const end = found - CRLF.length;
    if (end < 0 || !begins(this.#rest.subarray(end), CRLF)) throw misplaced();
    if (end > 0) this.#emit(end);
    this.#listener.onPartEnd(this.#at);
    this.#take(CRLF.length + this.#dashed.length);
    this.#state = 'delimited';
    return true;
  }

  #close(): boolean {
    const rest = this.#rest;
    if (rest.length > CRLF.length || !CRLF.subarray(0, rest.length).equals(rest)) {
      throw new FormFault('the last boundary is followed by more');
    }
    if (rest.length === CRLF.length) this.#take(CRLF.length);
    return false;
  }

  #emit(length: number): void {
    this.#listener.onValue(this.#rest.subarray(0, length));
    this.#take(length);
  }

  #take(length: number): void {
    this.#rest = this.#rest.subarray(length);
    this.#at += length;
  }
}

function begins(bytes: Buffer, with_: Buffer): boolean {
  return bytes.length >= with_.length && bytes.subarray(0, with_.length).equals(with_);
}

function notOpened(): FormFault {
  return new FormFault('the form does not begin with the boundary that its content-type states');
}

function misplaced(): FormFault {
  return new FormFault('the boundary stands inside a part; choose one that does not');
}

const HEADER_LINE = /^([A-Za-z0-9-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/;
const FORM_DATA = /^form-data\s*(?=;)/i;
const FIELD_NAME = /^[\w.\-[\]]{1,100}$/;
/** How a value may be written without being changed on its way. */
const PLAIN_ENCODINGS: ReadonlySet<string> = new Set(['7bit', '8bit', 'binary']);
const UTF8 = /^(utf-?8|us-ascii)$/i;

function readHead(headers: Buffer): PartHead {
  const lines = new Map<string, string>();
  for (const line of headers.toString('utf8').split('\r\n')) {
    const [, title, value] = HEADER_LINE.exec(line) ?? [];
    const key = title?.toLowerCase();
    if (key === undefined || lines.has(key)) {
      throw new FormFault('a part has a header that is malformed, or given twice');
    }
    lines.set(key, value!);
  }
  const disposition = lines.get('content-disposition');
  const given = disposition !== undefined && FORM_DATA.test(disposition) ? dispositionOf(disposition) : null;
  const name = given?.get('name');
  if (given === null || name === undefined || !FIELD_NAME.test(name)) {
    throw new FormFault('each part needs a header content-disposition: form-data with a plain name');
  }
  const encoding = lines.get('content-transfer-encoding');
  if (encoding !== undefined && !PLAIN_ENCODINGS.has(encoding.toLowerCase())) {
    throw new FormFault('a part must be sent as it is, without a content-transfer-encoding', name);
  }
  const isFile = given.has('filename') || given.has('filename*');
  const contentType = lines.get('content-type') ?? null;
  if (!isFile && contentType !== null) refuseCharset(contentType, name);
  return { name, isFile, filename: given.get('filename') ?? null, contentType };
}

/** A name of a file may have anything but a quote; `filename*` has it in another encoding, for who can read that. */
const OF_DISPOSITION = /\s*;\s*(name|filename|filename\*)=(?:"([^"\r\n]*)"|([^\s";]+))/iy;

function dispositionOf(text: string): Map<string, string> | null {
  const found = new Map<string, string>();
  const rest = text.replace(FORM_DATA, '');
  for (OF_DISPOSITION.lastIndex = 0; OF_DISPOSITION.lastIndex < rest.length; ) {
    const [, name, quoted, plain] = OF_DISPOSITION.exec(rest) ?? [];
    const key = name?.toLowerCase();
    // A backslash before the last quote would hide it from some parsers.
    if (key === undefined || found.has(key) || quoted?.endsWith('\\')) return null;
    found.set(key, quoted ?? plain!);
  }
  return found;
}

function refuseCharset(contentType: string, name: string): void {
  const charset = /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(contentType)?.[1];
  if (charset !== undefined && !UTF8.test(charset)) throw new FormFault('fields must be sent in UTF-8', name);
}
