/** `recordings verify` over a folder of captures: what it prints, and what it makes of a folder that is no such thing. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Command, readLine, UsageError } from '../../src/cli/command.ts';
import { recordingsVerify } from '../../src/cli/recordings.ts';

const usage = { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 };
const expected_usage = { input_tokens: 12, output_tokens: 3, total_tokens: 15 };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-recordings-'));
  writeFileSync(join(folder, 'whole.json'), JSON.stringify({ choices: [], usage }));
  writeFileSync(join(folder, 'stream.sse'), `data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function manifest(...rows: unknown[]): void {
  const lines = rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row)));
  writeFileSync(join(folder, 'manifest.jsonl'), `${lines.join('\n')}\n`);
}

function verify(command: Command, ...args: string[]) {
  return command.run(readLine(command, [folder, ...args], { print: () => {}, progress: () => {} })!);
}

const stream = { file: 'stream.sse', api_style: 'chat', streaming: true, expected_usage };
const whole = { file: 'whole.json', api_style: 'chat', streaming: false, expected_usage };

test('all is exact: the last line says so, with the seed before it', async () => {
  manifest(stream, '', { ...whole, content_type: 'application/json', response_headers: { 'retry-after': null } });
  const { text, json, failed } = await verify(recordingsVerify, '--seed', '9', '--splits', '3');
  expect(text).toBe('3 splits of each stream, seed 9\n2 of 2 exact, 0 unsupported');
  expect(failed).toBe(false);
  expect(json).toMatchObject({ ok: true, exact: 2, of: 2, rows: [{ file: 'stream.sse', result: 'exact' }, {}] });
});

test('a mismatch has a line of its own and fails; a dialect that is not spoken is listed and not counted', async () => {
  const wrong = { ...stream, expected_usage: { input_tokens: 11 } };
  manifest(wrong, whole, { ...whole, api_style: 'telex' });
  const { text, failed } = await verify(recordingsVerify);
  const lines = text!.split('\n');
  expect(lines[0]).toMatch(/^stream\.sse: expected \{"input_tokens":11\}, read \{"input_tokens":12/);
  expect(lines[1]).toBe('whole.json: unsupported');
  expect(lines.at(-1)).toBe('1 of 2 exact, 1 unsupported');
  expect(failed).toBe(true);
});

test.each<[string, unknown, RegExp]>([
  ['is no JSON', '{"file"', /manifest\.jsonl:2: /],
  ['lacks a field', { ...whole, api_style: undefined }, /manifest\.jsonl:2: api_style: /],
  ['expects a number for a usage', { ...whole, expected_usage: 7 }, /manifest\.jsonl:2: expected_usage: /],
  ['names a file that is not there', { ...whole, file: 'gone.json' }, /gone\.json/],
])('a row that %s is told by its line', async (_, row, message) => {
  manifest(whole, row);
  await expect(async () => verify(recordingsVerify)).rejects.toThrow(message);
});

test.each([
  ['--splits', '-1'],
  ['--splits', '1e9'],
  ['--seed', 'x'],
])('%s %s makes no sense', (option, value) => {
  manifest(whole);
  expect(() => verify(recordingsVerify, `${option}=${value}`)).toThrow(UsageError);
});
