/** Samples → medians over the rounds → the table, the aims and the bars; or one object. */
import { median, quantile } from '../statistics.ts';
import { CLIENTS, closed, grown, MANY, ONE, OPEN, TEXTBOOK } from './names.ts';
import type { Sample } from './phases.ts';

type Figure = Exclude<keyof Sample, 'round' | 'phase' | 'strangers'>;
const FIGURES: readonly Figure[] = ['perSecond', 'p50Ms', 'p99Ms', 'databaseUs', 'nodeUs', 'walBytes', 'commits'];

export interface Outcome {
  samples: Sample[];
  /** The phases, in the order of the table. */
  phases: string[];
  /** How many entries the ledgers began with whose costs are compared; the first is what the others are compared with. */
  sizes: number[];
  /** What else there is to know: what was chosen, what was left out. */
  notes: string[];
  /** Why the run is void; empty: it is good. */
  faults: string[];
}

export interface Aim {
  what: string;
  aim: string;
  /** The median over the rounds. `null`: it could not be measured. */
  found: number | null;
  quartiles: (number | null)[];
  ok: boolean;
}

/** What `--json` prints. A figure that could not be measured is null. */
export interface Report {
  gate: 'ok' | 'fail';
  phases: Record<string, Record<string, number | null>>;
  aims: Aim[];
  notes: string[];
}

/** Of the measured rounds: round 0 is never looked at. */
class Samples {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly Sample[]) {
    this.#samples = samples.filter(({ round }) => round > 0);
  }

  values(phase: string, figure: Figure): number[] {
    return this.#samples.filter((sample) => sample.phase === phase).map((sample) => sample[figure]);
  }

  /** A figure of one phase by that of another, round by round. */
  ratios(phase: string, other: string, figure: Figure): number[] {
    return this.#samples.flatMap((sample) => {
      const beside = this.#samples.find(({ round, phase: name }) => round === sample.round && name === other);
      return sample.phase === phase && beside !== undefined ? [sample[figure] / beside[figure]] : [];
    });
  }
}

/** The aims of the ledger, with what was found. */
export function aims({ samples: all, sizes }: Outcome): Aim[] {
  const samples = new Samples(all);
  const [crowd, hot] = [closed(MANY, CLIENTS), closed(ONE, CLIENTS)];
  const [young, ...old] = sizes.map(grown);
  return [
    ...[crowd, hot].flatMap((phase) => [
      aim(`database CPU of a pair, ${phase}`, '≤', 75, 'µs', samples.values(phase, 'databaseUs')),
      aim(`Node CPU of a pair, ${phase}`, '≤', 20, 'µs', samples.values(phase, 'nodeUs')),
    ]),
    aim(`pairs a second, ${hot}`, '≥', 3_000, '', samples.values(hot, 'perSecond')),
    aim(`p99 of a pair, ${OPEN}`, '≤', 25, 'ms', samples.values(OPEN, 'p99Ms')),
    ...old.flatMap((size) => [
      aim(`database CPU, ${size} ÷ ${young}`, '≤', 1.1, '×', samples.ratios(size, young!, 'databaseUs')),
      aim(`pairs a second, ${size} ÷ ${young}`, '≥', 0.9, '×', samples.ratios(size, young!, 'perSecond')),
    ]),
    aim(`pairs a second, ${hot} ÷ textbook`, '≥', 8, '×', samples.ratios(hot, TEXTBOOK, 'perSecond')),
  ];
}

function aim(what: string, sense: '≤' | '≥', bound: number, unit: string, values: number[]): Aim {
  const found = median(values);
  return {
    what,
    aim: `${sense} ${bound.toLocaleString('en')} ${unit}`.trimEnd(),
    found: rounded(found),
    quartiles: [rounded(quantile(values, 0.25)), rounded(quantile(values, 0.75))],
    ok: sense === '≤' ? found <= bound : found >= bound,
  };
}

export function report(outcome: Outcome): Report {
  const samples = new Samples(outcome.samples);
  const figures = (phase: string): [Figure, number | null][] =>
    FIGURES.map((figure) => [figure, rounded(median(samples.values(phase, figure)))]);
  return {
    gate: outcome.faults.length === 0 ? 'ok' : 'fail',
    phases: Object.fromEntries(outcome.phases.map((phase) => [phase, Object.fromEntries(figures(phase))])),
    aims: aims(outcome),
    notes: outcome.notes,
  };
}

/** Four digits: more would be noise. */
function rounded(figure: number): number | null {
  return Number.isFinite(figure) ? Number(figure.toPrecision(4)) : null;
}

/** The tables and the bars. */
export function tables(outcome: Outcome): string {
  const { phases, aims: found } = report(outcome);
  const samples = new Samples(outcome.samples);
  const head = [
    'a pair = hold + settle',
    'pairs/s',
    '25–75 %',
    'p50 ms',
    'p99 ms',
    'database µs',
    'Node µs',
    'WAL B',
    'commits',
  ];
  const rows = outcome.phases.map((phase) => {
    const speeds = samples.values(phase, 'perSecond');
    const figure = (name: Figure, digits: number): string => phases[phase]?.[name]?.toFixed(digits) ?? '–';
    return [
      ...[phase, whole(median(speeds)), `${whole(quantile(speeds, 0.25))}–${whole(quantile(speeds, 0.75))}`],
      ...[figure('p50Ms', 2), figure('p99Ms', 2), figure('databaseUs', 1), figure('nodeUs', 1)],
      ...[figure('walBytes', 0), figure('commits', 2)],
    ];
  });
  const judged = found.map((aim) => [
    ...[
      aim.what,
      aim.aim,
      `${aim.found ?? '–'}`,
      `${aim.quartiles.map((q) => q ?? '–').join('–')}`,
      aim.ok ? 'ok' : 'short',
    ],
  ]);
  const closedLoops = outcome.phases.filter((phase) => phase !== OPEN);
  return [
    ...[...aligned([head, ...rows]), ''],
    ...['Pairs a second', ...bars(closedLoops.map((phase) => [phase, [phases[phase]?.perSecond ?? 0]])), ''],
    'CPU of a pair: █ database, ▒ Node, µs',
    ...[
      ...bars(outcome.phases.map((phase) => [phase, [phases[phase]?.databaseUs ?? 0, phases[phase]?.nodeUs ?? 0]])),
      '',
    ],
    ...aligned([['aim', '', 'found', '25–75 %', ''], ...judged]),
    ...outcome.notes,
  ].join('\n');
}

const whole = (figure: number): string => (Number.isFinite(figure) ? Math.round(figure).toLocaleString('en') : '–');

const BAR_COLUMNS = 60;
const INKS = ['█', '▒'];

/** A bar for each row, of its parts one after the other; the longest fills the columns. What is not 0 shows. */
export function bars(rows: readonly (readonly [label: string, parts: readonly number[]])[]): string[] {
  const sum = (parts: readonly number[]): number => parts.reduce((total, part) => total + part, 0);
  const longest = Math.max(...rows.map(([, parts]) => sum(parts)));
  const ink = (part: number, i: number): string =>
    part === 0 ? '' : INKS[i]!.repeat(Math.max(1, Math.round((part / longest) * BAR_COLUMNS)));
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, parts]) =>
    `${label.padEnd(width)}  ${parts.map(ink).join('')} ${parts.map(whole).join(' + ')}`.trimEnd(),
  );
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
