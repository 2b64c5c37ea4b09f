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

/** The table of figures, the bars, the table of aims, and the notes. */
export function tables(outcome: Outcome): string {
  const { phases, aims: judged, notes } = report(outcome);
  const of = (phase: string, figure: Figure): number => phases[phase]?.[figure] ?? 0;
  const closedLoops = outcome.phases.filter((phase) => phase !== OPEN);
  // What a lone call costs would make every other bar a dot.
  const alone = [ONE, MANY].map((where) => closed(where, 1));
  const batched = closedLoops.filter((phase) => phase !== TEXTBOOK && !alone.includes(phase));
  const parts: [title: string, lines: string[]][] = [
    ['A pair is a hold and its settle', figuresTable(outcome)],
    ['Pairs a second', bars(closedLoops.map((phase) => [phase, [of(phase, 'perSecond')]]))],
    [
      'CPU of a pair in µs: █ database, ▒ Node',
      bars(batched.map((phase) => [phase, [of(phase, 'databaseUs'), of(phase, 'nodeUs')]])),
    ],
    ['Aims', aimsTable(judged)],
  ];
  return [...parts.flatMap(([title, lines]) => [title, ...lines, '']), ...notes].join('\n');
}

const COLUMNS: readonly [head: string, figure: Figure, digits: number][] = [
  ['p50 ms', 'p50Ms', 2],
  ['p99 ms', 'p99Ms', 2],
  ['database µs', 'databaseUs', 1],
  ['Node µs', 'nodeUs', 1],
  ['WAL B', 'walBytes', 0],
  ['commits', 'commits', 3],
];

function figuresTable(outcome: Outcome): string[] {
  const samples = new Samples(outcome.samples);
  const rows = outcome.phases.map((phase) => {
    const speeds = samples.values(phase, 'perSecond');
    const figures = COLUMNS.map(([, figure, digits]) => fixed(median(samples.values(phase, figure)), digits));
    const spread = `${fixed(quantile(speeds, 0.25), 0)}–${fixed(quantile(speeds, 0.75), 0)}`;
    return [phase, fixed(median(speeds), 0), spread, ...figures];
  });
  return aligned([['', 'pairs/s', '25–75 %', ...COLUMNS.map(([head]) => head)], ...rows]);
}

function aimsTable(judged: readonly Aim[]): string[] {
  const rows = judged.map(({ what, aim, found, quartiles, ok }) => {
    const [figure, ...spread] = [found, ...quartiles].map((value) => value?.toLocaleString('en') ?? '–');
    return [what, aim, figure!, spread.join('–'), ok ? 'ok' : 'short'];
  });
  return aligned([['', 'aim', 'found', '25–75 %', ''], ...rows]);
}

/** With so many decimals; a dash for what could not be measured. */
function fixed(figure: number, digits: number): string {
  const decimals = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return Number.isFinite(figure) ? figure.toLocaleString('en', decimals) : '–';
}

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
    `${label.padEnd(width)}  ${parts.map(ink).join('')} ${parts.map((part) => fixed(part, 0)).join(' + ')}`.trimEnd(),
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
