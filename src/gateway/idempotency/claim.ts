/**
 * The claim of one request on its idempotency key, and what its client is being answered meanwhile.
 *
 *   running ──keep, the answer is whole──▶ ended (kept, or too large)
 *      └──drop, there will be no whole answer──▶ ended (forgotten)
 *
 * It has ended before the last bytes of an answer leave, so that a retry finds it so.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';
import type { Claims, Place } from './claims.ts';
import { type Answer, sealAnswer } from './seal.ts';

/** A larger answer is not kept. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** Of so many pieces one is made: a stream of tiny frames would be mostly the objects around them. */
const MAX_PIECES = 1_024;
/** A claim without a hold may be taken over after ten seconds by the database's clock (0013-idempotency.sql). */
const FRESH_MS = 5_000;

export interface ClaimOptions {
  claims: Claims;
  place: Place;
  /** The caller's, whole: what the answer is sealed with. */
  apiKey: string;
  /** When the claim was asked for, by the clock. */
  askedAt: number;
  clock: Clock;
  log: Logger;
}

export class Claim {
  readonly #options: ClaimOptions;
  #ended = false;
  #head: Omit<Answer, 'body'> | null = null;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(options: ClaimOptions) {
    this.#options = options;
  }

  /** Whether nobody can have taken the claim over before the hold was made: else nothing may be forwarded. */
  get isFresh(): boolean {
    return this.#options.clock.now() - this.#options.askedAt < FRESH_MS;
  }

  /** The head of the answer, as it is sent or would be, had the client not left. The first one counts. */
  head(status: number, headers: Answer['headers']): void {
    this.#head ??= { status, headers };
  }

  /** The next bytes of the body. Beyond the limit they are let go. */
  add(bytes: Buffer): void {
    if (this.#ended) return;
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_ANSWER_BYTES) this.#pieces = [];
    else if (this.#pieces.push(bytes) > MAX_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
  }

  /** Keeps an answer whose head and body are whole, but for the last bytes given here. */
  async keep(rest: Buffer | null): Promise<void> {
    if (this.#ended) return;
    if (this.#head === null) throw new Error('step order: a body without a head cannot be kept');
    if (rest !== null) this.add(rest);
    this.#ended = true;
    const { claims, place } = this.#options;
    if (this.#bytes > MAX_ANSWER_BYTES) return claims.end(place, 'too_large');
    const sealed = this.#seal({ ...this.#head, body: Buffer.concat(this.#pieces) });
    this.#pieces = [];
    await claims.end(place, sealed === null ? 'lost' : 'kept', sealed);
  }

  /** Keeps an answer that is at hand as a whole, in place of what has been noted of it. Never throws. */
  keepWhole(answer: Answer): Promise<void> {
    this.#head = { status: answer.status, headers: answer.headers };
    this.#pieces = [];
    this.#bytes = 0;
    return this.keep(answer.body);
  }

  /** Lets the key be used again: nothing whole was answered. Does nothing once the claim has ended. Never throws. */
  async drop(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#pieces = [];
    await this.#options.claims.end(this.#options.place, 'forgotten');
  }

  #seal(answer: Answer): Buffer | null {
    const { apiKey, place, log } = this.#options;
    try {
      return sealAnswer(apiKey, sealedTo(place), answer);
    } catch (error) {
      log.error({ err: error }, 'an answer could not be sealed');
      return null;
    }
  }
}

/** What an answer is sealed to: one claim of one key, by one request. */
export function sealedTo({ name, fingerprint, request }: Place): Buffer {
  return Buffer.concat([name, fingerprint, Buffer.from(request)]);
}
