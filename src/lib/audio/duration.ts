/**
 * How long a sound file plays. A duration that a header states is not believed where the sound itself can be walked, since who
 * pays by the second writes the header: frames, packets and samples are counted. docs/uploads.md says what of each format.
 */
import { flacSeconds } from './flac.ts';
import { isMpeg, mpegSeconds } from './mp3.ts';
import { mp4Seconds } from './mp4.ts';
import { oggSeconds } from './ogg.ts';
import { wavSeconds } from './wav.ts';
import { webmSeconds } from './webm.ts';
import { type FileBytes, FileWindow } from './window.ts';

type Walk = (file: FileWindow) => Promise<number | null>;

const HEAD_BYTES = 12;

/** Seconds, not rounded; `null`: the file is of another format, or does not tell. */
export async function soundSeconds(bytes: FileBytes): Promise<number | null> {
  const file = new FileWindow(bytes);
  const walk = await walkOf(file);
  const seconds = walk === null ? null : await walk(file);
  return seconds !== null && Number.isFinite(seconds) && seconds > 0 ? seconds : null;
}

/** By its first bytes, and never by its name. */
async function walkOf(file: FileWindow): Promise<Walk | null> {
  const head = (await file.at(0, HEAD_BYTES)).toString('latin1');
  if (/^(RIFF|RF64|BW64)/.test(head) && head.slice(8) === 'WAVE') return wavSeconds;
  if (head.startsWith('fLaC')) return flacSeconds;
  if (head.startsWith('OggS')) return oggSeconds;
  if (head.startsWith('\x1aE\xdf\xa3')) return webmSeconds;
  if (head.slice(4, 8) === 'ftyp') return mp4Seconds;
  return (await isMpeg(file)) ? mpegSeconds : null;
}
