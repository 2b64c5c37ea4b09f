/**
 * The client's side of a relay: the head leaves with the first bytes of the body, and what leaves is noted for a repeat of
 * the request. It never waits: whoever writes is told when the client is slow, and again when it has caught up.
 *
 *   unsent ──write, sendHead──▶ sending ──more than its socket takes──▶ slow ──drained──▶ sending
 *                                                                        └─ nothing taken for a minute ──▶ cut (as http.ts does)
 *   any ──client gone──▶ unheard: only noted
 *
 * Bound: what is written while the client is slow waits in this process; the provider is not read meanwhile, so that it is the
 * buffer of a socket and what one read of the provider brought.
 */
import type { ServerResponse } from 'node:http';
import type { Claim } from './idempotency/claim.ts';

/** A client that takes nothing for this long has left, whatever its connection says; one that takes a little is only slow. */
const STALL_MS = 60_000;

export interface OutletOptions {
  response: ServerResponse;
  /** Notes what the client is sent, or would be had it not left; null: nobody asked for that. */
  claim: Claim | null;
  /** A slow client has caught up. */
  onDrained: () => void;
}

export class Outlet {
  readonly #options: OutletOptions;
  #head: { status: number; headers: Record<string, string | string[]> } | null = null;
  #headSent = false;
  #isSlow = false;

  constructor(options: OutletOptions) {
    this.#options = options;
  }

  /** Whether some of the answer was sent, or would have been had the client not left: then no other may be. */
  get reached(): boolean {
    return this.#headSent;
  }

  /** Whether the client has to catch up before more is written. */
  get isSlow(): boolean {
    return this.#isSlow;
  }

  /** What the answer begins with, once there is something to send. */
  head(status: number, headers: Record<string, string | string[]>): void {
    this.#head = { status, headers };
  }

  sendHead(): void {
    if (this.#headSent) return;
    const { response, claim } = this.#options;
    const { status, headers } = this.#head!;
    this.#headSent = true;
    claim?.head(status, headers);
    if (!response.destroyed) response.writeHead(status, headers);
  }

  /** Sends bytes on; `false` while the client is slow. */
  write(bytes: Buffer): boolean {
    const { response, claim } = this.#options;
    this.sendHead();
    claim?.add(bytes);
    if (response.destroyed) return true;
    if (response.write(bytes) || this.#isSlow) return !this.#isSlow;
    this.#isSlow = true;
    // Then the server cuts its connection, and all else follows from that, as with any client that has left.
    response.socket?.setTimeout(STALL_MS);
    response.once('drain', () => {
      this.unheard();
      this.#options.onDrained();
    });
    return false;
  }

  /** Nobody has to catch up: the client has, or it has left, or the answer is over. */
  unheard(): void {
    if (!this.#isSlow) return;
    this.#isSlow = false;
    this.#options.response.socket?.setTimeout(0);
  }
}
