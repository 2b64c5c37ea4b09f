/** The report compares within a round, judges by the medians, and never looks at the round that warms up. */
import { expect, test } from 'vitest';
import { closed, grown, MANY, ONE, OPEN, TEXTBOOK } from './names.ts';
import { type Sample, sampleOf } from './phases.ts';
import { aims, bars, type Outcome, report, tables } from './report.ts';

const HOT = closed(ONE, 64);
const PHASES = [HOT, OPEN, closed(MANY, 64), grown(10_000), grown(1_000_000), TEXTBOOK];

/** The textbook does 100 pairs a second in a round that nobody disturbs. */
function roundOf(round: number, machine: number, ratio: number, growth: number): Sample[] {
  return PHASES.map((phase) => ({
    ...{ round, phase, strangers: 0, p50Ms: 1, p99Ms: 10 * round, walBytes: 1_000, commits: 0.0625 },
    perSecond: machine * 100 * (phase === TEXTBOOK ? 1 : ratio),
    databaseUs: (phase === grown(1_000_000) ? growth : 1) * 74,
    nodeUs: 21,
  }));
}

const outcome: Outcome = {
  samples: [roundOf(0, 1, 1, 9), roundOf(1, 5, 7.5, 1.05), roundOf(2, 1, 9, 1.2), roundOf(3, 0.1, 8.5, 1)].flat(),
  phases: PHASES,
  sizes: [10_000, 1_000_000],
  notes: ['a note'],
  faults: [],
};

test('each aim is judged by the median over the rounds, ratios round by round', () => {
  const found = Object.fromEntries(aims(outcome).map((aim) => [aim.what, aim]));
  expect(found[`pairs a second, ${HOT} ÷ textbook`]).toEqual({
    ...{ what: `pairs a second, ${HOT} ÷ textbook`, aim: '≥ 8 ×', found: 8.5, quartiles: [7.5, 9], ok: true },
  });
  expect(found['database CPU, 1,000,000 entries ÷ 10,000 entries']).toMatchObject({ found: 1.05, ok: true });
  expect(found[`p99 of a pair, ${OPEN}`]).toMatchObject({ aim: '≤ 25 ms', found: 20, quartiles: [10, 30], ok: true });
  expect(found[`pairs a second, ${HOT}`]).toMatchObject({ aim: '≥ 3,000', found: 900, ok: false });
  expect(found[`Node CPU of a pair, ${HOT}`]).toMatchObject({ aim: '≤ 20 µs', ok: false });
  expect(found[`database CPU of a pair, ${HOT}`]).toMatchObject({ aim: '≤ 75 µs', ok: true });
});

test('the table says ok or short beside each aim, and what there is to know', () => {
  const lines = tables(outcome).split('\n');
  expect(lines.find((line) => line.startsWith(`pairs a second, ${HOT} ÷ textbook`))).toMatch(
    /≥ 8 × +8\.5 +7\.5–9 +ok$/,
  );
  expect(lines.find((line) => line.startsWith(`pairs a second, ${HOT} `))).toMatch(/short$/);
  expect(lines.at(-1)).toBe('a note');
});

test('what was not measured meets no aim, and is null', () => {
  const nothing = JSON.parse(JSON.stringify(report({ ...outcome, samples: [], faults: ['a fault'] })));
  expect(nothing).toMatchObject({ gate: 'fail', phases: { [HOT]: { perSecond: null } } });
  expect(nothing.aims[0]).toMatchObject({ found: null, quartiles: [null, null], ok: false });
  expect(tables({ ...outcome, samples: [] })).toContain('–');
});

test('a sample is what was spent between two readings, for each pair', () => {
  const before = { at: 10, database: 1, node: 1, machine: 5, walBytes: 1_000, commits: 70 };
  const after = { at: 12, database: 1.2, node: 1.1, machine: 5.3, walBytes: 2_000_000, commits: 195 };
  const result = { pairs: 1_000, seconds: 2, latenciesMs: [1, 2, 3, 100] };
  const sample = sampleOf(3, HOT, result, before, after);
  expect(sample).toMatchObject({
    round: 3,
    phase: HOT,
    perSecond: 500,
    p50Ms: 2.5,
    p99Ms: 100,
    walBytes: 1_999,
    commits: 0.125,
  });
  expect(sample.databaseUs).toBeCloseTo(200);
  expect(sample.nodeUs).toBeCloseTo(100);
  expect(sample.strangers).toBeCloseTo(0);
});

test('bars are as long as their figures, and what is not 0 shows', () => {
  expect(
    bars([
      ['a', [600]],
      ['bb', [300, 300]],
      ['c', [0, 1]],
      ['d', [0]],
    ]),
  ).toEqual([`a   ${'█'.repeat(60)} 600`, `bb  ${'█'.repeat(30)}${'▒'.repeat(30)} 300 + 300`, 'c   ▒ 0 + 1', 'd    0']);
});
