/**
 * A proxy in front of Postgres that fails as networks and servers do, at a statement of your choice. It reads just enough
 * of the protocol to know where a statement, and the answer to it, begin and end.
 *
 *   client ══statement══▶ proxy ──────▶ Postgres
 *          ◀═══answer═════       ◀──────
 *             1     2    3     4    5
 *
 * A strike hits one statement at one point: `arrived` (2: the proxy has it, Postgres never gets it), `half sent` (3: Postgres
 * gets half of it), `answered` (4: executed and committed, the client hears nothing), `half answered` (5: the client
 * gets half of the answer). What becomes of the connection then:
 *
 *   cut      both sides see it closed
 *   freeze   half-open: neither side sees anything, and what the client does to its socket does not reach Postgres;
 *            `deliver` lets Postgres have the rest of the statement, however late: a zombie
 *
 * Or the whole wire fails, whatever is said: `strikeAll`, `open`, `passes`.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export const POINTS = ['arrived', 'half sent', 'answered', 'half answered'] as const;
export type Point = (typeof POINTS)[number];
export type Fate = 'cut' | 'freeze';
export type Passes = 'all' | 'statements' | 'nothing';

export interface Strike {
  /** Which statement is hit, by its SQL: the first that matches. */
  statement: RegExp;
  point: Point;
  fate: Fate;
}

export interface Struck {
  /** Of a frozen statement: gives Postgres what it has not got yet, and waits until it has answered, or hung up. */
  deliver(): Promise<void>;
}

export interface WireProxy {
  url: string;
  /** Hits the next statement that matches. Resolves when it was hit. */
  strike(strike: Strike): Promise<Struck>;
  /** Hits all connections that are open now, whatever they are doing; new ones work. */
  strikeAll(fate: Fate): void;
  /** Whether new connections are let through: else they are closed at once. */
  open: boolean;
  /**
   * What passes, on connections that are open and on new ones: all; statements alone, whose answers are lost; or nothing, so
   * that they freeze. A connection that has lost something stays as it is when all passes again.
   */
  passes: Passes;
  close(): Promise<void>;
}

/** A proxy to the server that `databaseUrl` names. */
export async function startWireProxy(databaseUrl: string): Promise<WireProxy> {
  const target = new URL(databaseUrl);
  const wires = new Set<Wire>();
  const armed: Armed[] = [];
  const server = createServer({ noDelay: true }, (near) => {
    if (!proxy.open) return void near.destroy();
    const far = connect({ port: Number(target.port), host: target.hostname, noDelay: true });
    const wire = new Wire({ near, far, armed, passes: () => proxy.passes }, () => wires.delete(wire));
    wires.add(wire);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const proxy: WireProxy = {
    url: url.toString(),
    open: true,
    passes: 'all',
    strike: (strike) => new Promise((resolve) => armed.push({ strike, resolve })),
    strikeAll: (fate) => {
      for (const wire of wires) wire.suffer(fate);
    },
    close: async () => {
      for (const wire of wires) wire.suffer('cut');
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}

interface Armed {
  strike: Strike;
  resolve: (struck: Struck) => void;
}

interface Ends {
  near: Socket;
  far: Socket;
  armed: Armed[];
  passes: () => Passes;
}

const SYNC = 0x53;
const QUERY = 0x51;
const PARSE = 0x50;
const BIND = 0x42;
const READY = 0x5a;
/** What belongs to a statement: parse, bind, describe, execute, close, flush; it ends with a sync, or is a plain query. */
const OF_STATEMENT = new Set([...'PBDECH'].map((char) => char.charCodeAt(0)));

/** One connection: the client's socket, the one to Postgres, and where they are in their talk. */
class Wire {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #armed: Armed[];
  readonly #prepared = new Map<string, string>();
  #statement: Buffer[] = [];
  #answer: Buffer[] = [];
  /** A strike that waits for the answer to the statement that was just sent. */
  #waiting: Armed | null = null;
  #frozen = false;
  /** Its client hears nothing any more. */
  #deaf = false;
  /** What a frozen client had said, and Postgres has not heard. */
  #unheard: Buffer = Buffer.alloc(0);
  #onReady: () => void = () => {};

  constructor({ near, far, armed, passes }: Ends, onClose: () => void) {
    this.#near = near;
    this.#far = far;
    this.#armed = armed;
    const fromClient = framer(true, (type, message) => this.#said(type, message));
    const fromServer = framer(false, (type, message) => this.#answered(type, message));
    near.on('data', (bytes: Buffer) => {
      this.#frozen ||= passes() === 'nothing';
      if (!this.#frozen) fromClient(bytes);
    });
    far.on('data', (bytes: Buffer) => {
      this.#frozen ||= passes() === 'nothing';
      this.#deaf ||= passes() === 'statements';
      fromServer(bytes);
    });
    near.on('close', () => {
      // Who waited for the answer gave up before it came: the strike is for the next who says the statement.
      if (this.#waiting !== null && !this.#frozen) armed.push(this.#waiting);
      this.#waiting = null;
      this.#ended(far);
    });
    far.on('close', () => {
      this.#onReady();
      this.#ended(near);
    });
    for (const socket of [near, far]) {
      socket.on('error', () => {});
      socket.on('close', () => near.closed && far.closed && onClose());
    }
  }

  /** One side closed: the other hears of it, unless the wire between them is frozen. */
  #ended(other: Socket): void {
    if (!this.#frozen) other.destroy();
  }

  suffer(fate: Fate): void {
    if (fate === 'freeze') {
      this.#frozen = true;
      return;
    }
    this.#near.destroy();
    this.#far.destroy();
  }

  #said(type: number | null, message: Buffer): void {
    if (this.#frozen) return;
    if (type === null || !(OF_STATEMENT.has(type) || type === SYNC || type === QUERY)) {
      this.#far.write(message);
      return;
    }
    this.#statement.push(message);
    if (type !== SYNC && type !== QUERY) return;
    const bytes = Buffer.concat(this.#statement);
    const text = this.#textOf(this.#statement);
    this.#statement = [];
    const index = this.#armed.findIndex(({ strike }) => strike.statement.test(text));
    if (index === -1) this.#far.write(bytes);
    else this.#send(bytes, this.#armed.splice(index, 1)[0]!);
  }

  #send(bytes: Buffer, armed: Armed): void {
    const { point } = armed.strike;
    if (point === 'answered' || point === 'half answered') {
      this.#waiting = armed;
      this.#far.write(bytes);
      return;
    }
    const sent = point === 'half sent' ? Math.floor(bytes.length / 2) : 0;
    this.#unheard = bytes.subarray(sent);
    // Only when the half has left: a connection that is closed at once might take it along.
    this.#far.write(bytes.subarray(0, sent), () => this.#hit(armed));
  }

  #hit({ strike, resolve }: Armed): void {
    this.suffer(strike.fate);
    resolve({ deliver: () => this.#deliver() });
  }

  #deliver(): Promise<void> {
    if (this.#far.destroyed || this.#unheard.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onReady = resolve;
      this.#far.write(this.#unheard);
    });
  }

  #answered(type: number | null, message: Buffer): void {
    if (this.#frozen) {
      if (type === READY) this.#onReady();
      return;
    }
    if (this.#deaf) return;
    if (this.#waiting === null) {
      this.#near.write(message);
      return;
    }
    this.#answer.push(message);
    if (type !== READY) return;
    const answer = Buffer.concat(this.#answer);
    const heard = this.#waiting.strike.point === 'half answered' ? Math.floor(answer.length / 2) : 0;
    const armed = this.#waiting;
    this.#waiting = null;
    this.#near.write(answer.subarray(0, heard), () => this.#hit(armed));
  }

  /** The SQL of a statement: it stands in its parse message, now or when it was prepared. */
  #textOf(messages: readonly Buffer[]): string {
    let text = '';
    for (const message of messages) {
      const [first = '', second = ''] = message.toString('latin1', 5).split('\0', 2);
      if (message[0] === QUERY) text = first;
      if (message[0] === PARSE) this.#prepared.set(first, second);
      if (message[0] === BIND) text = this.#prepared.get(second) ?? '';
    }
    return text;
  }
}

/**
 * Cuts a stream of bytes into messages: a type, four bytes of length (which count themselves), the rest. A client's first
 * message has no type.
 */
function framer(
  startsBare: boolean,
  onMessage: (type: number | null, message: Buffer) => void,
): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let bare = startsBare;
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    for (;;) {
      const head = bare ? 0 : 1;
      if (rest.length < head + 4) return;
      const length = head + rest.readInt32BE(head);
      if (rest.length < length) return;
      const message = rest.subarray(0, length);
      rest = rest.subarray(length);
      onMessage(bare ? null : message[0]!, message);
      bare = false;
    }
  };
}
