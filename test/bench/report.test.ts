/** The report compares within a round, and never looks at the one that warms up. */
import { expect, test } from 'vitest';
import { disturbance, report, table } from './report.ts';
import { BARE, DIRECT, HTTP_PROXY, TOLLGATE } from './rig.ts';
import type { Sample } from './rounds.ts';
import { median, quantile } from './statistics.ts';
import { MODES } from './workload.ts';

/** Bare serves 1,000 a second in a round that nobody disturbs. */
function roundOf(round: number, machine: number, r1: number): Sample[] {
  const speeds = { [DIRECT]: 2000, [BARE]: 1000, [HTTP_PROXY]: 500, [TOLLGATE]: 1000 * r1 };
  return MODES.flatMap((mode) =>
    Object.entries(speeds).flatMap(([contender, speed]) =>
      [1, 64].map((connections) => ({
        ...{ round, contender, mode, connections },
        result: {
          answered: 100,
          perSecond: speed * machine,
          p50Ms: (contender === TOLLGATE ? 3 : 1) * connections,
          p99Ms: (contender === TOLLGATE ? 7 : 2) * connections,
          faults: [],
        },
        cpuPer1k: { contender: 1 / speed, database: 0.1, load: 0.01, mock: 0.02 },
        walPerRequest: 1234.5678,
        strangers: round / 10,
      })),
    ),
  );
}

test('ratios are medians of per-round ratios: a slow machine in one round does not move them', () => {
  const samples = [roundOf(0, 1, 9), roundOf(1, 1, 0.5), roundOf(2, 0.1, 0.6), roundOf(3, 3, 0.4)].flat();
  expect(report(samples, 'ok')).toMatchObject({
    gate: 'ok',
    json: {
      r1: 0.5,
      vs_http_proxy: 1,
      added_p50_ms: 2,
      added_p99_ms: 5,
      cpu_s_per_1k: { bare: 0.001, gateway: 0.002, database: 0.1 },
      wal_bytes_per_request: 1235,
    },
  });
  expect(table(samples)).toContain('R1 = 0.5 of bare');
});

test('a disturbed run says so', () => {
  expect(disturbance(roundOf(1, 1, 0.5))).toContain('took 10.0 % of the CPU meanwhile: too much');
});

test('what was not measured is null, and no ratio', () => {
  expect(JSON.parse(JSON.stringify(report([], 'fail')))).toMatchObject({ gate: 'fail', sse: { r1: null } });
});

test('order statistics', () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([])]).toEqual([2, 2.5, Number.NaN]);
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([quantile(hundred, 0.5), quantile(hundred, 0.99), quantile([7], 0.99)]).toEqual([50, 99, 7]);
});
