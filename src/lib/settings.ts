/** Reading settings from YAML: scalars as their text, `${ENV}` filled in, all faults gathered with their path. */
import { parseDocument, visit } from 'yaml';
import { z } from 'zod';

export interface Fault {
  path: string;
  message: string;
}

/** Every fault of the configuration at once. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
    const lines = faults.map(({ path, message }) => `  ${path}: ${message}`);
    super(`The configuration has ${count}:\n${lines.join('\n')}`);
    this.name = 'ConfigError';
    this.faults = faults;
  }
}

/** A value that must not be shown: whatever prints it prints `***`. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '***';
  }
  toJSON(): string {
    return '***';
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '***';
  }
}

/** Looks a variable of the environment up. A function, because it prints as one: the environment is full of secrets. */
export type Variables = (name: string) => string | undefined;

const PLACEHOLDER = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/**
 * YAML → plain values. Numbers come as the text they were written as, so that no price passes through a float. A
 * `${NAME}` in a string is filled in. What is empty, or names a variable that is not set, counts as not given. Faults of
 * syntax are added to `faults`, and `undefined` returned.
 */
export function readYaml(text: string, file: string, variables: Variables, faults: Fault[]): unknown {
  const document = parseDocument(text);
  visit(document, {
    Scalar(key, node) {
      if (typeof node.value === 'number') node.value = node.source ?? String(node.value);
      else if (typeof node.value === 'string' && key !== 'key') node.value = interpolate(node.value, variables);
    },
  });
  const broken = document.errors.map((error) => error.message.split('\n')[0]!);
  try {
    if (broken.length === 0) return document.toJS({ reviver: (_key, value) => value ?? undefined }) ?? {};
  } catch (error) {
    // An alias without its anchor, or with too many expansions, shows only here.
    broken.push((error as Error).message);
  }
  faults.push(...broken.map((message) => ({ path: file, message })));
  return undefined;
}

function interpolate(text: string, variables: Variables): string | null {
  let unset = false;
  const filled = text.replace(PLACEHOLDER, (_all, name: string) => {
    const value = variables(name) ?? '';
    if (value === '') unset = true;
    return value;
  });
  return unset ? null : filled;
}

/** A whole number, as text or as a number. */
export function whole(least: number, most: number) {
  const message = `must be a whole number between ${least} and ${most}`;
  return (
    z
      .union([z.string(), z.number()], message)
      .refine((value) => /^-?\d{1,12}$/.test(String(value)) && Number(value) >= least && Number(value) <= most, message)
      .transform(Number)
      // Described as the number that it is, though its text will do.
      .meta({ type: 'integer', anyOf: undefined, minimum: least, maximum: most })
  );
}

/** Checks a value; what is wrong is added to `faults` under `file` and its path, and `null` returned. */
export function check<T>(schema: z.ZodType<T>, value: unknown, file: string, faults: Fault[]): T | null {
  const result = schema.safeParse(value, { error: explain });
  if (result.success) return result.data;
  faults.push(...result.error.issues.flatMap((issue) => faultsOf(issue, file)));
  return null;
}

const EXPECTED: Record<string, string> = {
  string: 'text',
  object: 'a mapping of names to values',
  record: 'a mapping of names to values',
  array: 'a list',
  boolean: 'true or false',
};

/** What is wrong, in the words of someone who writes YAML; `undefined`: the library's words will do. */
function explain(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'unrecognized_keys') return 'unknown key; check its spelling';
  if (issue.code === 'invalid_key') return issue.issues[0]?.message;
  if (issue.code === 'invalid_value') return `must be one of: ${issue.values.join(', ')}`;
  if (issue.code !== 'invalid_type') return undefined;
  if (issue.input === undefined)
    return 'is required; empty, or with the name of an unset variable, counts as not given';
  return `must be ${EXPECTED[issue.expected] ?? issue.expected}`;
}

function faultsOf(issue: z.core.$ZodIssue, file: string): Fault[] {
  const path = [file, ...issue.path.map(String)].join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: `${path}.${key}`, message: issue.message }));
  }
  return [{ path, message: issue.message }];
}
