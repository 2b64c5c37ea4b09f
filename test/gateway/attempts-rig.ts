/** How a provider may fail an attempt, and what each way means: for the receipt, the next route, the charge and the client. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  at,
  chat,
  type Exchange,
  endEarly,
  error,
  errorFrame,
  redirect,
  reset,
  type Script,
  stream,
} from '../support/scripted-upstream.ts';

/** What is charged, in words: nothing, what was reported, the output that came beside an estimated input, or by the model's policy. */
type Charge = 'nothing' | 'reported' | { output: number } | { outputIfEstimated: number };

export interface Outcome {
  /** `null`: nobody listens where it is sent. */
  script: Script | null;
  /** It answers too late. */
  isSilent?: true;
  /** On the receipt. */
  status: number | null;
  outcome: string;
  goesOn: boolean;
  charge: Charge;
  /** What the client is answered, where this was the last attempt. */
  answer: number;
  /** Some of it reached the client: its stream is broken. */
  breaks?: true;
}

const failed = { goesOn: true, charge: 'nothing' as const, answer: 502 };
const refused = (status: number, answer: number, headers = {}): Outcome => ({
  ...failed,
  script: error(status, 'server_error', null, headers),
  status,
  outcome: 'refused',
  answer,
});
const told = (status: number): Outcome => ({ ...refused(status, status), goesOn: false });
const noHead = { status: null, outcome: 'reset' };
const silent = (script: Script, charge: Charge): Outcome => ({
  ...{ script, isSilent: true, status: null, outcome: 'timeout' },
  ...{ goesOn: false, charge, answer: 504 },
});

const of = (type: string) => ({ 'content-type': type });
/** Sends the head and some of the body, and no more. */
function begins(type: string, part: string, then: Script): Script {
  return async (exchange: Exchange) => {
    exchange.response.writeHead(200, of(type));
    exchange.response.flushHeaders();
    exchange.response.write(part);
    await sleep(20);
    await then(exchange);
  };
}
const HALF_A_BODY = '{"id":"chatcmpl-scripted","choices":[{"index":0,"message":{"role":"assistant","content":"Hel';
const nothing: Script = () => {};

const COMMON: Record<string, Outcome> = {
  'no connection': { ...failed, script: null, status: null, outcome: 'connect' },
  '429': refused(429, 503, { 'retry-after': '20' }),
  '500': refused(500, 502),
  '503': refused(503, 502),
  '504': refused(504, 504),
  '401': refused(401, 502),
  'broken before its head': { ...failed, script: reset, ...noHead },
  'a redirect': { ...failed, script: redirect, status: null, outcome: 'protocol' },
  '400': told(400),
  '422': told(422),
  'an error whose words break off': {
    ...refused(500, 502),
    script: async ({ response }) => {
      response.writeHead(500, { 'content-type': 'application/json', 'content-length': 100 });
      response.write('{"error":');
      await sleep(20);
      response.destroy();
    },
  },
  'a refusal whose words never end': {
    ...told(400),
    script: ({ response }) => {
      response.writeHead(400, { 'content-type': 'application/json', 'content-length': 100 });
      response.write('{"error":');
    },
    isSilent: true,
    answer: 502,
  },
  'silent before its head': silent(nothing, { outputIfEstimated: 0 }),
};

const WHOLE = { script: chat(), goesOn: false, charge: 'reported' as const, answer: 200, status: 200 };

export const OUTCOMES: Record<'json' | 'stream', Record<string, Outcome>> = {
  json: {
    ...COMMON,
    served: { ...WHOLE, outcome: 'whole' },
    'broken in its body': { ...failed, script: begins('application/json', HALF_A_BODY, reset), ...noHead },
    'silent in its body': silent(begins('application/json', HALF_A_BODY, nothing), {
      outputIfEstimated: Math.ceil(HALF_A_BODY.length / 4),
    }),
    'an error that says 200': {
      ...WHOLE,
      script: ({ response }) => {
        response.writeHead(200, of('application/json'));
        response.end('{"error":{"message":"Overloaded.","type":"server_error","param":null,"code":null}}');
      },
      outcome: 'whole',
      charge: 'nothing',
    },
  },
  stream: {
    ...COMMON,
    served: { ...WHOLE, outcome: 'streamed' },
    'broken after its head': { ...failed, script: begins('text/event-stream', ': hello', reset), ...noHead },
    'nothing but an error': { ...failed, script: stream({}, at(0, errorFrame)), status: 200, outcome: 'cut_short' },
    'ended with nothing': { ...failed, script: stream({}, at(0, endEarly)), status: 200, outcome: 'cut_short' },
    'silent after its head': silent(begins('text/event-stream', ': hello', nothing), { outputIfEstimated: 0 }),
    'broken in its text': {
      ...{ script: stream({}, at(2, reset)), ...noHead, goesOn: false },
      ...{ charge: { output: 2 }, answer: 200, breaks: true },
    },
    'ended in its text': {
      ...{ script: stream({}, at(2, endEarly)), status: 200, outcome: 'cut_short', goesOn: false },
      ...{ charge: { output: 2 }, answer: 200, breaks: true },
    },
    'silent in its text': {
      ...silent(
        stream(
          {},
          at(2, () => new Promise(() => {})),
        ),
        { output: 2 },
      ),
      ...{ answer: 200, breaks: true },
    },
  },
};

/** One request: how each of its routes would answer, in order. */
export interface Case {
  kind: 'json' | 'stream';
  routes: string[];
  onTimeout: 'estimate' | 'free';
  /** During which attempt its client leaves, and what the model then does; `null`: it stays. */
  leaves: { at: number; policy: 'abort' | 'drain' } | null;
}

export const nameOf = ({ kind, routes, onTimeout, leaves }: Case): string =>
  `${kind}: ${routes.join(' → ')} (${onTimeout}${leaves === null ? '' : `, left at ${leaves.at}: ${leaves.policy}`})`;

const isOn = (kind: Case['kind'], name: string): boolean => OUTCOMES[kind][name]!.goesOn;

/** All of one route and of two; of three, an eighth; and routes after one that must be the last. */
export function cases(): Case[] {
  const all: Case[] = [];
  for (const kind of ['json', 'stream'] as const) {
    const names = Object.keys(OUTCOMES[kind]);
    const failures = names.filter((name) => isOn(kind, name));
    const add = (routes: string[], leaves: Case['leaves'] = null): void => {
      all.push({ kind, routes, onTimeout: 'estimate', leaves });
      // The other policy is shown where the silence comes first, or after a 500: each costs seconds.
      const isTimeout = OUTCOMES[kind][routes[0] === '500' ? routes[1]! : routes[0]!]?.isSilent;
      if (isTimeout) all.push({ kind, routes, onTimeout: 'free', leaves });
    };
    for (const [i, last] of names.entries()) {
      add([last]);
      for (const [j, first] of failures.entries()) {
        add([first, last]);
        if ((i + j) % 8 === 0) for (const second of failures) add([first, second, last]);
      }
      if (!isOn(kind, last)) add(['500', last, 'served']);
      if (OUTCOMES[kind][last]!.script === null) continue;
      for (const policy of kind === 'json' ? (['abort'] as const) : (['abort', 'drain'] as const)) {
        add([last, 'served'], { at: 0, policy });
        add(['500', last], { at: 1, policy });
      }
    }
  }
  return all;
}
