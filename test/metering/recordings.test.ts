/**
 * What providers really sent is read exactly as they said it, however the network cuts it. The recordings lie beside the
 * project and are no part of it: without them this suite says that it did not run.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameSplitter } from '../../src/lib/sse.ts';
import { ChatStreamReader, normalise, readChatJson } from '../../src/metering/readers/chat.ts';
import type { Reported } from '../../src/metering/readers/types.ts';

interface Row {
  file: string;
  api_style: string;
  streaming: boolean;
  http_status: number | null;
  expected_usage: Reported | null;
}

const folder = fileURLToPath(new URL('../../../shared/recordings/', import.meta.url));
const present = existsSync(`${folder}manifest.jsonl`);
if (!present) console.warn(`NOT RUN: there are no recordings in ${folder}`);

const rows: Row[] = present
  ? readFileSync(`${folder}manifest.jsonl`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Row)
      .filter((row) => row.api_style === 'chat')
  : [];

function readStream(bytes: Buffer, sizes: readonly number[]): Reported | null {
  const reader = new ChatStreamReader();
  const splitter = new FrameSplitter(1 << 25);
  const push = (chunk: Buffer): void => {
    const plain = splitter.atBoundary ? reader.content(chunk) : 0;
    splitter.push(chunk.subarray(plain), (frame) => reader.frame(frame));
  };
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    push(bytes.subarray(at, at + size));
    at += size;
  }
  push(Buffer.from('\n\n'));
  return reader.usage();
}

describe.skipIf(!present)('recorded answers', () => {
  it('are there', () => {
    expect(rows.length).toBeGreaterThan(100);
  });

  it.each(rows)('$file', ({ file, streaming, http_status, expected_usage }) => {
    const body = readFileSync(folder + file);
    const isStream = streaming && (http_status ?? 200) < 400;
    const reported = isStream ? readStream(body, [body.length]) : readChatJson(body).reported;
    expect(reported).toEqual(expected_usage);
    if (isStream) {
      const sizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 20 });
      fc.assert(
        fc.property(sizes, (cuts) => {
          expect(readStream(body, cuts)).toEqual(expected_usage);
        }),
        { numRuns: 5 },
      );
    }
    for (const quantity of Object.values(reported === null ? {} : normalise(reported)) as number[]) {
      expect(Number.isSafeInteger(quantity) && quantity >= 0).toBe(true);
    }
  });
});
