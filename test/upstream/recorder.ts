import type { Attempt, Provider, UpstreamFailure, UpstreamHeaders, UpstreamRequest } from '../../src/upstream/types.ts';

export interface Recording {
  attempt: Attempt;
  status: number | null;
  headers: UpstreamHeaders;
  chunks: Buffer[];
  text: () => string;
  failure: UpstreamFailure | null;
  /** The callbacks in their order, runs of `data` counted once. */
  events: string[];
  started: Promise<void>;
  /** Resolves at onEnd or onFailure. */
  over: Promise<void>;
}

/** A chat request as the gateway would send it. */
export function chatRequest(fields: object = {}): UpstreamRequest {
  const body = { model: 'm', messages: [{ role: 'user', content: 'Hello there' }], ...fields };
  const headers = { 'content-type': 'application/json', 'accept-encoding': 'identity' };
  return { path: '/chat/completions', headers, body: Buffer.from(JSON.stringify(body)), upstreamModel: 'm' };
}

/** Sends and writes down what the listener hears; `takes` answers onData, true unless given. */
export function record(
  provider: Provider,
  request: UpstreamRequest = chatRequest(),
  takes: (chunk: Buffer, recording: Recording) => boolean = () => true,
): Recording {
  const started = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const note = (event: string) => {
    if (event !== 'data' || recording.events.at(-1) !== 'data') recording.events.push(event);
  };
  const recording: Omit<Recording, 'attempt'> & { attempt?: Attempt } = {
    status: null,
    headers: {},
    chunks: [],
    text: () => Buffer.concat(recording.chunks).toString(),
    failure: null,
    events: [],
    started: started.promise,
    over: over.promise,
  };
  recording.attempt = provider.send(request, {
    onStart(status, headers) {
      note('start');
      recording.status = status;
      recording.headers = headers;
      started.resolve();
    },
    onData(chunk) {
      note('data');
      recording.chunks.push(chunk);
      return takes(chunk, recording as Recording);
    },
    onEnd() {
      note('end');
      over.resolve();
    },
    onFailure(failure) {
      note('failure');
      recording.failure = failure;
      over.resolve();
    },
  });
  note('sent');
  return recording as Recording;
}
