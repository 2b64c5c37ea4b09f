/** The client of what is large in the streams soak, in a process of its own: sounds that it sends and pictures that it gets, in turns. */
import { serveParent } from '../bench/child.ts';
import { wav } from '../support/sounds.ts';
import { LARGE } from './streams-wire.ts';

export interface LargeSeen {
  sounds: number;
  pictures: number;
  faults: string[];
}

const key = process.argv[2]!;
const sound = new Blob([wav(LARGE.soundSeconds)]);
const headers = { authorization: `Bearer ${key}` };
const url = (port: number, path: string): string => `http://127.0.0.1:${port}/v1/${path}`;

async function sendSound(port: number): Promise<boolean> {
  const body = new FormData();
  body.append('file', sound, 'long.wav');
  body.append('model', LARGE.hears);
  const response = await fetch(url(port, 'audio/transcriptions'), { method: 'POST', headers, body });
  return (await response.text()) === '{"text":"Long."}';
}

async function getPicture(port: number): Promise<boolean> {
  const body = JSON.stringify({ model: LARGE.draws, prompt: 'A large one.' });
  const json = { ...headers, 'content-type': 'application/json' };
  const response = await fetch(url(port, 'images/generations'), { method: 'POST', headers: json, body });
  return (await response.text()).length > LARGE.pictureBytes;
}

/** One after the other for so many seconds. */
async function run(port: number, seconds: number): Promise<LargeSeen> {
  const seen: LargeSeen = { sounds: 0, pictures: 0, faults: [] };
  for (const endsAt = performance.now() + seconds * 1_000; performance.now() < endsAt; ) {
    if (await sendSound(port)) seen.sounds++;
    else seen.faults.push('a sound was not heard');
    if (await getPicture(port)) seen.pictures++;
    else seen.faults.push('a picture did not come whole');
  }
  return seen;
}

serveParent({}, ({ port, seconds }: { port: number; seconds: number }) => run(port, seconds));
