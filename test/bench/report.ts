/** Samples → medians over the rounds → the table, or the object of the contract. */
import { BARE, DIRECT, DISPATCH, HTTP_PROXY, TOLLGATE } from './rig.ts';
import { CONNECTIONS, type Sample } from './rounds.ts';
import { median, quantile } from './statistics.ts';
import { MODES, type Mode } from './workload.ts';

export interface ModeReport {
  r1: number;
  vs_http_proxy: number;
  added_p50_ms: number;
  added_p99_ms: number;
  cpu_s_per_1k: { bare: number; gateway: number; database: number };
  wal_bytes_per_request: number;
}

/** What `--json` prints. A figure that could not be measured is null. */
export interface Report extends Record<Mode, ModeReport> {
  gate: 'ok' | 'fail';
}

const ORDER = [DIRECT, BARE, DISPATCH, HTTP_PROXY, TOLLGATE];

/** Of the measured rounds: round 0 is never looked at. */
class Samples {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly Sample[], mode: Mode) {
    this.#samples = samples.filter((sample) => sample.round > 0 && sample.mode === mode);
  }

  get contenders(): string[] {
    const rank = (name: string): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
    return [...new Set(this.#samples.map((sample) => sample.contender))].sort((a, b) => rank(a) - rank(b));
  }

  of(contender: string, connections = CONNECTIONS): Sample[] {
    return this.#samples.filter((sample) => sample.contender === contender && sample.connections === connections);
  }

  median(contender: string, figure: (sample: Sample) => number, connections = CONNECTIONS): number {
    return median(this.of(contender, connections).map(figure));
  }

  /** Throughput of one by that of the other, round by round. */
  ratios(contender: string, other: string): number[] {
    return this.of(contender).flatMap((sample) => {
      const beside = this.of(other).find(({ round }) => round === sample.round);
      return beside === undefined ? [] : [sample.result.perSecond / beside.result.perSecond];
    });
  }

  /** What Tollgate adds to a request that runs alone, round by round. */
  added(latency: (sample: Sample) => number): number[] {
    return this.of(TOLLGATE, 1).flatMap((sample) => {
      const beside = this.of(DIRECT, 1).find(({ round }) => round === sample.round);
      return beside === undefined ? [] : [latency(sample) - latency(beside)];
    });
  }
}

const p50 = (sample: Sample): number => sample.result.p50Ms;
const p99 = (sample: Sample): number => sample.result.p99Ms;

export function report(all: readonly Sample[], gate: 'ok' | 'fail'): Report {
  const ofMode = (mode: Mode): ModeReport => {
    const samples = new Samples(all, mode);
    return {
      r1: rounded(median(samples.ratios(TOLLGATE, BARE))),
      vs_http_proxy: rounded(median(samples.ratios(TOLLGATE, HTTP_PROXY))),
      added_p50_ms: rounded(median(samples.added(p50))),
      added_p99_ms: rounded(median(samples.added(p99))),
      cpu_s_per_1k: {
        bare: rounded(samples.median(BARE, (sample) => sample.cpuPer1k.contender)),
        gateway: rounded(samples.median(TOLLGATE, (sample) => sample.cpuPer1k.contender)),
        database: rounded(samples.median(TOLLGATE, (sample) => sample.cpuPer1k.database)),
      },
      wal_bytes_per_request: rounded(samples.median(TOLLGATE, (sample) => sample.walPerRequest)),
    };
  };
  return { gate, json: ofMode('json'), sse: ofMode('sse') };
}

/** Four digits: more would be noise. */
function rounded(figure: number): number {
  return Number(figure.toPrecision(4));
}

/** The median share of the cores that other processes took, as a sentence. */
export function disturbance(all: readonly Sample[]): string {
  const share = 100 * median(all.filter(({ round }) => round > 0).map(({ strangers }) => strangers));
  const verdict = share > 5 ? ': too much for the ratios to mean anything. Run it again on an idle machine' : '';
  return `Other processes took ${share.toFixed(1)} % of the CPU meanwhile${verdict}.`;
}

const TITLES: Record<Mode, string> = {
  json: 'JSON: 1 KB requests, 1.4 KB answers',
  sse: 'SSE: 1 KB requests, 30 frames of 150 B unpaced, usage, [DONE]',
};

/** The table. Throughputs, latencies and CPU are medians over the rounds; only the ratios may be compared between runs. */
export function table(all: readonly Sample[]): string {
  return MODES.map((mode) => {
    const samples = new Samples(all, mode);
    const summary = report(all, 'ok')[mode];
    const rows = samples.contenders.map((contender) => row(samples, contender));
    const head = [
      '',
      'requests/s',
      '÷ bare',
      '25–75 %',
      'p50 ms',
      'p99 ms',
      'CPU s/1k',
      'database',
      'load gen.',
      'mock',
    ];
    const cpu = summary.cpu_s_per_1k;
    return [
      `${TITLES[mode]}; ${CONNECTIONS} keep-alive connections, ${samples.of(TOLLGATE).length} rounds`,
      ...aligned([head, ...rows]),
      `R1 = ${summary.r1} of bare · ${rounded(median(samples.ratios(TOLLGATE, DISPATCH)))} of ${DISPATCH} · ${summary.vs_http_proxy} of ${HTTP_PROXY} · one request alone: ` +
        `+${summary.added_p50_ms} ms p50, +${summary.added_p99_ms} ms p99`,
      `CPU seconds per 1,000 requests: bare ${cpu.bare}, gateway ${cpu.gateway}, database ${cpu.database} · ` +
        `${summary.wal_bytes_per_request} bytes of WAL a request`,
      '',
    ].join('\n');
  }).join('\n');
}

function row(samples: Samples, contender: string): string[] {
  const ratios = samples.ratios(contender, BARE);
  const cpu = (process: keyof Sample['cpuPer1k']): string =>
    samples.median(contender, (sample) => sample.cpuPer1k[process]).toFixed(3);
  return [
    contender,
    Math.round(samples.median(contender, (sample) => sample.result.perSecond)).toLocaleString('en'),
    median(ratios).toFixed(3),
    `${quantile(ratios, 0.25).toFixed(2)}–${quantile(ratios, 0.75).toFixed(2)}`,
    samples.median(contender, p50).toFixed(2),
    samples.median(contender, p99).toFixed(2),
    cpu('contender'),
    contender.startsWith(TOLLGATE) ? cpu('database') : '',
    cpu('load'),
    contender === DIRECT ? '' : cpu('mock'),
  ];
}

/** The first column to the left, figures to the right. */
function aligned(rows: readonly string[][]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]! + 2)))
      .join('')
      .trimEnd(),
  );
}
