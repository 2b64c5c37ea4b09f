/**
 * What providers really sent is read exactly as they said it, however the network cuts it. The recordings lie beside the
 * project and are no part of it: without them this suite says that it did not run.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { verifyFolder } from '../../src/cli/recordings.ts';

const folder = fileURLToPath(new URL('../../../shared/recordings/', import.meta.url));
const present = existsSync(`${folder}manifest.jsonl`);
if (!present) console.warn(`NOT RUN: there are no recordings in ${folder}`);

describe.skipIf(!present)('recorded answers', () => {
  const verdicts = present ? verifyFolder(folder, { count: 5, seed: 7 }) : [];

  it('are there', () => {
    expect(verdicts.length).toBeGreaterThan(400);
  });

  it.each(verdicts)('$file', ({ result, problems }) => {
    expect(problems).toEqual([]);
    expect(result).toBe('exact');
  });
});
