/**
 * What a provider says that an answer cost, beside what our readers, the public price table and our rating say. The recordings
 * and the table lie beside the project and are no part of it: without them this suite says that it did not run.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readRow } from '../../src/catalog/import-row.ts';
import { readPrice, type WrittenPrice } from '../../src/catalog/price.ts';
import { charge } from '../../src/catalog/rating.ts';
import { parseJson } from '../../src/lib/http-json.ts';
import type { Json } from '../../src/lib/json.ts';
import { type Row, recordedRows, recordedUsage, shared } from '../support/recorded.ts';

/** Models that the table has by another name than the answer says. */
const KEYS: Readonly<Record<string, string>> = {
  'anthropic/claude-4.5-haiku-20251001': 'claude-haiku-4-5',
  'anthropic/claude-4.6-sonnet-20260217': 'claude-sonnet-4-6',
  'x-ai/grok-4.1-fast': 'xai/grok-4-1-fast-reasoning',
  'grok-3-mini-high': 'xai/grok-3-mini',
  sonar: 'perplexity/sonar',
};

/** Why ours is not theirs by the table alone. `lacks`: what it does not say; with it, ours is theirs but for `by` µ$. */
interface Difference {
  why: string;
  lacks?: WrittenPrice;
  by: number;
}

const SEARCHES = 'the table has no price for a search of the web';
const FEE = 'the fee for a search is by the size of its context, which no import can say; theirs is rounded to 10 µ$';
const NO_ROW = 'the table does not have the model';
const MADE_UP = 'no real figure: the recording says 123456 ticks';

const DIFFERENCES: Readonly<Record<string, Difference>> = {
  'openrouter.chat.full.008.json': { why: SEARCHES, lacks: { 'tool:web_search': '0.01' }, by: 0 },
  'xai.responses.full.004.json': { why: SEARCHES, lacks: { 'tool:web_search': '0.005' }, by: 0 },
  'xai.responses.full.005.json': { why: SEARCHES, lacks: { 'tool:web_search': '0.005' }, by: 0 },
  'openrouter.chat.stream.011.sse': {
    why: 'the table has no price for cached input of this seller, so that it costs what input does',
    lacks: { cached_input: '0.75' },
    by: 0,
  },
  'openrouter.chat.full.013.json': {
    why: 'as before; and the 2,161 tokens reported as written are those read, which theirs fits when they are billed as both',
    lacks: { cached_input: '0.03' },
    // Ours: 2,161 × 0.03 + 7 × 0.3 + 100 × 2.5 = 316.93. Theirs is 2,161 × 0.083333… more: five minutes of storage at 1 an hour.
    by: -180.083333,
  },
  'perplexity.chat.stream.001.sse': { why: FEE, lacks: { request: '0.005' }, by: -2 },
  'perplexity.chat.stream.002.sse': { why: FEE, lacks: { request: '0.005' }, by: 0 },
  'perplexity.chat.stream.003.sse': { why: FEE, lacks: { request: '0.005' }, by: 3 },
  'openrouter.chat.stream.014.sse': { why: NO_ROW, by: -59.52 },
  'venice.chat.full.002.json': { why: NO_ROW, by: -573.4 },
  'venice.chat.stream.002.sse': { why: NO_ROW, by: -157.8 },
  'venice.chat.stream.003.sse': { why: NO_ROW, by: -113.28125 },
  'xai.responses.full.009.json': { why: MADE_UP, by: 457.6544 },
  'xai.responses.stream.005.sse': { why: MADE_UP, by: 457.6544 },
};

const prices = `${shared}prices/model_prices_and_context_window.json`;
const all = recordedRows();
const present = all.length > 0 && existsSync(prices);
if (!present) console.warn(`NOT RUN: there are no recordings, or no price table, in ${shared}`);

const rows = present ? all.filter(({ cost_check }) => cost_check !== null && cost_check !== undefined) : [];
const table = present ? (parseJson(readFileSync(prices)) as Record<string, Json>) : {};

/** Ours and theirs, in pico-USD: nano-credits at 1,000 credits to the dollar. */
function compare(row: Row, lacks: WrittenPrice = {}): { ours: number; theirs: number } {
  const key = row.cost_check!.price_key ?? KEYS[row.model];
  const listed = key === undefined ? null : readRow(table[key]!, { sized: false }).price;
  const { usage, terms } = recordedUsage(row)!;
  const ours = charge(usage, readPrice({ ...listed, ...lacks }), 1_000n, terms);
  return { ours: Number(ours), theirs: Math.round(row.cost_check!.reported_usd * 1e12) };
}

const micro = (pico: number): string => `${pico / 1e6} µ$`;
const cases = rows.map((row) => {
  const { ours, theirs } = compare(row);
  const difference = DIFFERENCES[row.file];
  return {
    row,
    difference,
    title: `${row.file} theirs ${micro(theirs)}, ours ${micro(ours)}: ${difference?.why ?? 'the same'}`,
  };
});

describe.skipIf(!present)('the cost of recorded answers', () => {
  test('more than half are the same, and each difference is of a recording that is there', () => {
    expect(rows.length).toBeGreaterThan(30);
    expect(cases.filter(({ difference }) => difference === undefined).length).toBeGreaterThan(rows.length / 2);
    const files = rows.map(({ file }) => file);
    expect(Object.keys(DIFFERENCES).filter((file) => !files.includes(file))).toEqual([]);
  });

  test.each(cases)('$title', ({ row, difference }) => {
    const plain = compare(row);
    if (difference === undefined) {
      expect(plain.ours).toBe(plain.theirs);
      return;
    }
    // A difference that went away is to be struck from the list.
    expect(plain.ours).not.toBe(plain.theirs);
    const { ours, theirs } = compare(row, difference.lacks);
    expect((ours - theirs) / 1e6).toBeCloseTo(difference.by, 5);
  });
});
