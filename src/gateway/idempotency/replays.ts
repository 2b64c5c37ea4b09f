/**
 * Answers that are given again: read in pieces, opened as they come, sent whole. They cost their client nothing, so what they
 * take of this process is bounded: 32 MB an account at once, and 256 MB of all.
 *
 *   asked ──room──▶ opening ──opened──▶ sending ──sent, or not taken for a minute──▶ over: its room is free again
 *     └─ no room ──▶ overloaded            any ──failed, or the client left──▶ over
 */
import type { ServerResponse } from 'node:http';
import { TollgateError } from '../../errors.ts';
import { sendBody } from '../respond.ts';
import { sealedTo } from './claim.ts';
import type { KeptAnswer, Place } from './claims.ts';
import { openAnswer } from './seal.ts';

const MOST_BYTES = 256 * 1024 * 1024;
const MOST_ACCOUNT_BYTES = 32 * 1024 * 1024;
/** Who has not taken an answer by then has left, whatever the connection says. */
const SEND_MS = 60_000;

export class Replays {
  #bytes = 0;
  readonly #byAccount = new Map<bigint, number>();

  /** Bytes of the answers that are being given. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Gives an answer again, whose pieces are read as they are needed; resolves with its status once it is on its way. Throws,
   * with nothing sent, `overloaded`, and what reading the pieces throws.
   */
  async replay(
    response: ServerResponse,
    apiKey: string,
    place: Place,
    { request, size }: KeptAnswer,
    pieces: AsyncIterable<Buffer>,
  ): Promise<number> {
    const over = this.#take(place.account, size);
    try {
      const answer = await openAnswer(apiKey, sealedTo({ ...place, request }), pieces);
      // Its `close` may have been before this one was asked for.
      if (response.destroyed) over();
      else {
        const late = setTimeout(() => response.destroy(), SEND_MS);
        response.once('close', () => {
          clearTimeout(late);
          over();
        });
        sendBody(response, answer.status, answer.body, { ...answer.headers, 'idempotent-replayed': 'true' });
      }
      return answer.status;
    } catch (error) {
      over();
      throw error;
    }
  }

  /** Takes room for so many bytes of an account; returns what gives it back. */
  #take(account: bigint, bytes: number): () => void {
    const given = this.#byAccount.get(account) ?? 0;
    if (given + bytes > MOST_ACCOUNT_BYTES || this.#bytes + bytes > MOST_BYTES) {
      throw new TollgateError('overloaded', { cause: 'too many bytes of answers are being given again' });
    }
    this.#add(account, bytes);
    let taken = bytes;
    return () => {
      this.#add(account, -taken);
      taken = 0;
    };
  }

  #add(account: bigint, bytes: number): void {
    this.#bytes += bytes;
    const now = (this.#byAccount.get(account) ?? 0) + bytes;
    if (now > 0) this.#byAccount.set(account, now);
    else this.#byAccount.delete(account);
  }
}
