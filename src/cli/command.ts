/** What a command is, and how its line is read and explained. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

export interface Option {
  /** The name of its value in the help; none: a switch. */
  value?: string;
  required?: true;
  help: string;
}

/** A command line, read. Options have the names that the admin API uses: `external_id`. */
export interface Line {
  values: Record<string, string>;
  switches: ReadonlySet<string>;
  positional: string[];
  json: boolean;
  /** A line of the result before its end. */
  print(text: string): void;
  /** A line for whoever watches, apart from the result. */
  progress(text: string): void;
}

/**
 * What a command has to say at its end: `json` with --json, else `text`; `null`: nothing. `failed`: it did its work, and
 * what it found is bad.
 */
export interface Result {
  json: unknown;
  text: string | null;
  failed?: boolean;
}

export interface Command {
  /** One or two words. */
  name: string;
  summary: string;
  /** Names of what follows without dashes. */
  positional: readonly string[];
  options: Record<string, Option>;
  run(line: Line): Promise<Result>;
}

/** A command line that makes no sense: exit status 2. */
export class UsageError extends Error {}

const COMMON: Record<string, Option> = {
  json: { help: 'print the result as one line of JSON' },
  help: { help: 'print this help' },
};

/** Reads what follows a command's name. `null`: help is asked for. Throws `UsageError`. */
export function readLine(command: Command, args: string[], output: Pick<Line, 'print' | 'progress'>): Line | null {
  const options = { ...command.options, ...COMMON };
  const types = Object.entries(options).map(([name, { value }]) => [name, { type: value ? 'string' : 'boolean' }]);
  const config: ParseArgsConfig = { args, options: Object.fromEntries(types), allowPositionals: true, strict: true };
  let read: ReturnType<typeof parseArgs>;
  try {
    read = parseArgs(config);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (read.values.help === true) return null;
  const given = Object.entries(read.values);
  for (const [name, { required, value }] of Object.entries(command.options)) {
    if (required && read.values[name] === undefined) throw new UsageError(`--${name} ${value} is missing`);
  }
  const missing = command.positional[read.positionals.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const excess = read.positionals[command.positional.length];
  if (excess !== undefined) throw new UsageError(`"${excess}" is one argument too many`);
  const values = given.filter(([, value]) => typeof value === 'string');
  return {
    values: Object.fromEntries(values.map(([name, value]) => [name.replaceAll('-', '_'), value as string])),
    switches: new Set(given.filter(([, value]) => value === true).map(([name]) => name)),
    positional: read.positionals,
    json: read.values.json === true,
    ...output,
  };
}

export function helpOf(command: Command): string {
  const options = Object.entries({ ...command.options, ...COMMON });
  const names = options.map(([name, { value }]) => `--${name}${value === undefined ? '' : ` ${value}`}`);
  const usage = options.map(([, { required }], i) => (required ? names[i] : `[${names[i]}]`));
  const width = Math.max(...names.map((name) => name.length)) + 2;
  return [
    `Usage: npx tollgate ${[command.name, ...command.positional, ...usage].join(' ')}`,
    '',
    command.summary,
    '',
    ...options.map(([, { help }], i) => `  ${names[i]!.padEnd(width)}${help}`),
  ].join('\n');
}
