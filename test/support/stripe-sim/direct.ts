/** The real library onto a simulator in the same process, without a socket between: for thousands of runs. */
import Stripe from 'stripe';
import type { Answer, Api } from './api.ts';
import type { Method } from './core.ts';
import type { Deliverer } from './delivery.ts';

/** A client whose calls are answered by `api` itself. In mode `auto`, events go out after the answer, as over HTTP. */
export function directClient(api: Api, delivery: Deliverer, key: string): Stripe {
  const answers = async (url: string, init: RequestInit): Promise<Response> => {
    const { pathname, search } = new URL(url);
    const answer = await api.answer({
      method: init.method as Method,
      path: pathname,
      query: search.slice(1),
      body: typeof init.body === 'string' ? init.body : '',
      headers: Object.fromEntries(new Headers(init.headers)),
    });
    if (delivery.mode.when === 'auto') setImmediate(() => void delivery.flush());
    return responseOf(answer);
  };
  const httpClient = Stripe.createFetchHttpClient(answers as typeof fetch);
  return new Stripe(key, { httpClient, maxNetworkRetries: 0, telemetry: false });
}

/** A call without answer is an error of the connection: `reset` is one the library tries again. */
function responseOf({ status, headers, body }: Answer): Response {
  if (typeof status === 'number') return new Response(body, { status, headers });
  throw Object.assign(
    new Error(`the connection was closed (${status})`),
    status === 'reset' ? { code: 'ECONNRESET' } : {},
  );
}
