/** What a relay is told, and what it tells: how one attempt at an answer ended. */
import type { ServerResponse } from 'node:http';
import type { ChatStreamReader } from '../metering/readers/chat.ts';
import type { UpstreamFailure } from '../upstream/types.ts';
import type { Claim } from './idempotency/claim.ts';
import type { Slices } from './slices.ts';

/** How an attempt ended. `reached`: some of it went to the client, so that no other route may be tried. */
export type Relayed =
  | {
      kind: 'whole';
      status: number;
      headers: Record<string, string | string[]>;
      /** `null`: too large to be kept. */
      body: Buffer | null;
      bytes: number;
      rest: Buffer | null;
    }
  | { kind: 'streamed'; reader: ChatStreamReader; rest: Buffer | null; status: number }
  /** The credits ran out: the stream is to be ended. `unsent` is the first frame that was not sent. */
  | { kind: 'exhausted'; reader: ChatStreamReader; unsent: Buffer; status: number }
  | { kind: 'cut_short'; reader: ChatStreamReader; reached: boolean; status: number; errorSent: boolean }
  | { kind: 'refused'; status: number; body: Buffer }
  | { kind: 'failed'; failure: UpstreamFailure; reader: ChatStreamReader | null; bytes: number; reached: boolean }
  | { kind: 'abandoned'; reader: ChatStreamReader | null; bytes: number; sent: boolean };

/** One that was not served to its end, for a reason that is neither the client's nor the balance's. */
export type Failed = Extract<Relayed, { kind: 'cut_short' | 'refused' | 'failed' }>;

export interface RelayOptions {
  response: ServerResponse;
  requestId: string;
  /** Notes what the client is sent, or would be had it not left; null: nobody asked for that. */
  claim: Claim | null;
  /** Whether the client itself asked for the usage chunk; else it is taken out again. */
  usageAsked: boolean;
  /** Whether the client asked for a stream: before the head of the answer comes, that is all there is to go by. */
  streamAsked: boolean;
  onDisconnect: 'abort' | 'drain';
  /** Output tokens that are held for: a drained stream is read no further. */
  outputHeld: number;
  /** Where less than the whole of a stream is held. */
  slices: Slices | null;
  /** Ends the wait: called exactly once. */
  done: (relayed: Relayed) => void;
}
