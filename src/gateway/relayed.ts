/** What a relay is told, and what it tells: how one attempt at an answer ended. */
import type { ServerResponse } from 'node:http';
import type { StreamReader } from '../metering/readers/types.ts';
import type { UpstreamFailure, UpstreamHeaders } from '../upstream/types.ts';
import type { FilterOptions } from './frame-filter.ts';
import type { Claim } from './idempotency/claim.ts';

/** How an attempt ended. `reached`: some of it went to the client, or would have had it not left, so that no other route may be tried. */
export type Relayed =
  | {
      kind: 'whole';
      status: number;
      /** The provider's, all of them. */
      headers: UpstreamHeaders;
      /** To be read; and to be sent, where `rest` is null. `null`: too large to be kept, or nothing that can be read. */
      body: Buffer | null;
      bytes: number;
      /** The last bytes of one that was passed on as it came; `null`: none of it was sent. */
      rest: Buffer | null;
    }
  /** `failed`: its end says that there is no answer. */
  | { kind: 'streamed'; reader: StreamReader; rest: Buffer | null; status: number; failed: boolean }
  /** The credits ran out: the stream is to be ended. `unsent` is the first frame that was not sent. */
  | { kind: 'exhausted'; reader: StreamReader; unsent: Buffer; status: number }
  | { kind: 'cut_short'; reader: StreamReader; reached: boolean; status: number; errorSent: boolean }
  /** `body` is null where it was cut off. */
  | { kind: 'refused'; status: number; body: Buffer | null }
  | { kind: 'failed'; failure: UpstreamFailure; reader: StreamReader | null; bytes: number; reached: boolean }
  | { kind: 'abandoned'; reader: StreamReader | null; bytes: number; sent: boolean };

/** One that was not served to its end, for a reason that is neither the client's nor the balance's. */
export type Failed = Extract<Relayed, { kind: 'cut_short' | 'refused' | 'failed' }>;

export interface RelayOptions extends FilterOptions {
  response: ServerResponse;
  requestId: string;
  /** Notes what the client is sent, or would be had it not left; null: nobody asked for that. */
  claim: Claim | null;
  /** Whether the client asked for a stream: before the head of the answer comes, that is all there is to go by. */
  streamAsked: boolean;
  onDisconnect: 'abort' | 'drain';
  /** Hears the id of a stream's answer once, as soon as it is told; null: nobody waits for it. */
  onMade: ((id: string) => void) | null;
  /** Output tokens that are held for: a drained stream is read no further. */
  outputHeld: number;
  /** Ends the wait: called exactly once. */
  done: (relayed: Relayed) => void;
}
