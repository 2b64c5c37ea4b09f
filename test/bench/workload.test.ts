/** The workload is the one that the contract names. */
import { expect, test } from 'vitest';
import { answers, MODES, requestBytes } from './workload.ts';

test('requests have 1 KB, and are JSON', () => {
  for (const mode of MODES) {
    const body = requestBytes(mode, 'sk-tg-x').toString().split('\r\n\r\n')[1]!;
    expect(body).toHaveLength(1024);
    expect(JSON.parse(body).stream).toBe(mode === 'sse' ? true : undefined);
  }
});

test('JSON answers have 1.4 KB, and say their usage', () => {
  for (const { parts, usage } of answers('json')) {
    expect(parts.map((part) => part.length)).toEqual([1434]);
    const said = JSON.parse(parts[0]!.toString()).usage;
    expect([said.prompt_tokens, said.completion_tokens]).toEqual([usage.input, usage.output]);
  }
});

test('streams have 30 frames of 150 B, a usage chunk and [DONE]', () => {
  for (const { parts, usage } of answers('sse')) {
    expect(parts.slice(0, 30).map((part) => part.length)).toEqual(Array(30).fill(150));
    const [usageChunk, done, ...more] = parts.slice(30).map((part) => part.toString().slice('data: '.length).trim());
    expect(JSON.parse(usageChunk!).usage.completion_tokens).toBe(usage.output);
    expect([done, more]).toEqual(['[DONE]', []]);
  }
});
