/** The client of the streams soak: it opens streams, and judges each of their frames: intact, in order, and when it came. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { PATH } from '../bench/workload.ts';
import { frameOf, framesIn, requestBody, type Wanted } from './streams-wire.ts';

export interface Plan {
  port: number;
  /** Keys of accounts, taken in turn. */
  keys: readonly string[];
  streams: number;
  frames: number;
  everyMs: number;
  /** They are opened one after the other, so many milliseconds apart. */
  apartMs: number;
}

export interface Seen {
  whole: number;
  /** What was wrong, by stream. */
  faults: string[];
  /** From the request to the first byte of its first frame, of each stream. */
  firstByteMs: number[];
  /** Between two frames of a stream, but for those that the upstream sends at once at its end. */
  gapMs: number[];
  /** How many were open at once: begun, and not ended. */
  open: number;
  mostOpen: number;
}

/** Runs all streams of a plan to their ends. */
export async function runStreams(plan: Plan): Promise<Seen> {
  const seen: Seen = { whole: 0, faults: [], firstByteMs: [], gapMs: [], open: 0, mostOpen: 0 };
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  const startedAt = performance.now();
  const all: Promise<void>[] = [];
  for (let id = 0; id < plan.streams; id++) {
    const early = startedAt + id * plan.apartMs - performance.now();
    if (early > 0) await sleep(early);
    const wanted = { id, frames: plan.frames, everyMs: plan.everyMs };
    const one = readStream(plan.port, plan.keys[id % plan.keys.length]!, wanted, agent, seen).then(
      () => void seen.whole++,
      (error: Error) => void seen.faults.push(`stream ${id}: ${error.message}`),
    );
    all.push(one);
  }
  await Promise.all(all);
  agent.destroy();
  return seen;
}

async function readStream(port: number, key: string, wanted: Wanted, agent: Agent, seen: Seen): Promise<void> {
  const body = requestBody(wanted);
  const headers = {
    ...{ authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    'content-length': Buffer.byteLength(body),
  };
  const sentAt = performance.now();
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path: PATH, method: 'POST', headers, agent }, resolve);
    sent.on('error', reject);
    sent.end(body);
  });
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
  let rest = '';
  let index = 0;
  let last = sentAt;
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    const now = performance.now();
    const frames = (rest + chunk).split(/(?<=\n\n)/);
    rest = frames.at(-1)!.endsWith('\n\n') ? '' : frames.pop()!;
    for (const frame of frames) {
      if (frame !== frameOf(wanted, index)) throw new Error(`frame ${index} is ${JSON.stringify(frame)}`);
      if (index === 0) {
        seen.firstByteMs.push(now - sentAt);
        seen.mostOpen = Math.max(seen.mostOpen, ++seen.open);
      } else if (index < wanted.frames - 1) seen.gapMs.push(now - last);
      last = now;
      index++;
    }
  }
  if (index !== framesIn(wanted) || rest !== '') throw new Error(`${index} of ${framesIn(wanted)} frames came`);
  seen.open--;
}
