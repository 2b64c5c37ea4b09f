/**
 * What is served and metered. An endpoint is a row here: its name, its path, how its requests are read, how its
 * answers are, and how its streams end when they are not ended by a provider.
 */
import { dialectOf } from '../metering/readers/index.ts';
import type { Dialect } from '../metering/readers/types.ts';
import { chatRequests } from '../metering/requests/chat.ts';
import { completionRequests } from '../metering/requests/completions.ts';
import { embeddingRequests } from '../metering/requests/embeddings.ts';
import { imageEditFormRequests, imageVariationRequests } from '../metering/requests/image-forms.ts';
import { imageRequests } from '../metering/requests/images.ts';
import { moderationRequests } from '../metering/requests/moderations.ts';
import { compactRequests, inputTokensRequests, responsesRequests } from '../metering/requests/responses.ts';
import { speechRequests } from '../metering/requests/speech.ts';
import { transcriptionRequests, translationRequests } from '../metering/requests/transcriptions.ts';
import type { RequestReader } from '../metering/requests/types.ts';
import { responsesEnds } from './response-ends.ts';
import { answerEnds, chatEnds, completionEnds, type StreamEnds } from './stream-ends.ts';

export interface Endpoint {
  /** Its name on receipts. */
  readonly name: string;
  /** Its path at a provider: a constant, never a client's; of a declared route its template, filled. */
  readonly upstreamPath: string;
  /** POST where it is not said. */
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** The name of the route in the catalog, where that declares it (passthrough/): its requests are passed on unread. */
  readonly declared?: string;
  /** How its requests are read. */
  readonly requests: RequestReader;
  /** What its answers are read by. */
  readonly dialect: Dialect;
  /** What its streams end with where the gateway ends them. */
  readonly ends: StreamEnds;
}

const ROWS: readonly Endpoint[] = [
  endpoint('chat', '/chat/completions', chatRequests, chatEnds),
  endpoint('completions', '/completions', completionRequests, completionEnds),
  endpoint('embeddings', '/embeddings', embeddingRequests, answerEnds),
  endpoint('moderations', '/moderations', moderationRequests, answerEnds),
  endpoint('responses', '/responses', responsesRequests, responsesEnds),
  endpoint('responses-input_tokens', '/responses/input_tokens', inputTokensRequests, responsesEnds),
  endpoint('responses-compact', '/responses/compact', compactRequests, responsesEnds),
  endpoint('transcriptions', '/audio/transcriptions', transcriptionRequests, answerEnds),
  endpoint('translations', '/audio/translations', translationRequests, answerEnds),
  endpoint('speech', '/audio/speech', speechRequests, answerEnds),
  endpoint('images', '/images/generations', imageRequests, answerEnds),
  endpoint('images-edit', '/images/edits', imageEditFormRequests, answerEnds),
  endpoint('images-var', '/images/variations', imageVariationRequests, answerEnds),
];

/** The metered endpoints, by URL. All are POST. A provider's base URL ends where ours does: at `/v1`. */
export const ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map(ROWS.map((row) => [`/v1${row.upstreamPath}`, row]));

/** `name` is that on receipts, and of the dialect of its answers (metering/readers/index.ts). */
function endpoint(name: string, upstreamPath: string, requests: RequestReader, ends: StreamEnds): Endpoint {
  const dialect = dialectOf(name);
  if (dialect === null) throw new Error(`there is no reader for ${name}`);
  return { name, upstreamPath, requests, dialect, ends };
}
