/** One call to a provider beside the requests: its whole answer, or nothing. */
import type { Attempt, Provider, UpstreamHeaders } from '../../upstream/types.ts';

/** Shorter than a claim lasts. */
const FETCH_MS = 30_000;
const MOST_BYTES = 64 * 1024 * 1024;

export interface Fetched {
  status: number;
  headers: UpstreamHeaders;
  body: Buffer;
}

/** Resolves with the answer, whatever its status; `null`: none came whole within 30 s and 64 MiB. Never throws. */
export function fetchWhole(provider: Provider, method: 'GET' | 'POST', path: string): Promise<Fetched | null> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let [status, bytes] = [0, 0];
    let headers: UpstreamHeaders = {};
    let attempt: Attempt | null = null;
    const end = (fetched: Fetched | null): void => {
      clearTimeout(timer);
      if (fetched === null) attempt?.abort();
      resolve(fetched);
    };
    const timer = setTimeout(() => end(null), FETCH_MS);
    const request = {
      method,
      path,
      headers: { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'tollgate' },
      body: Buffer.alloc(0),
      upstreamModel: '',
    };
    attempt = provider.send(request, {
      onStart: (answered, sent) => {
        status = answered;
        headers = sent;
      },
      onData: (chunk) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MOST_BYTES) end(null);
        return bytes <= MOST_BYTES;
      },
      onEnd: () => end({ status, headers, body: Buffer.concat(chunks) }),
      onFailure: () => end(null),
    });
  });
}
