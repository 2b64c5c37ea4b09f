/** Reading settings from YAML: scalars as their text, `${ENV}` filled in, all faults gathered with their path. */
import { parseDocument, visit } from 'yaml';
import type { ZodError, ZodType } from 'zod';

export interface Fault {
  path: string;
  message: string;
}

/** Every fault of the configuration at once. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    super(`The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults
      .map(({ path, message }) => `  ${path}: ${message}`)
      .join('\n')}`);
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

const PLACEHOLDER = /\$\{([A-Z_][A-Z0-9_]*)\}/g;

/**
 * YAML → plain values. Numbers come as the text they were written as, so that no price passes through a float; a
 * `${NAME}` in a string is filled in, and an unset one leaves the whole value null. Faults are added to `faults`.
 */
export function readYaml(text: string, file: string, env: NodeJS.ProcessEnv, faults: Fault[]): unknown {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true });
  if (document.errors.length > 0) {
    faults.push(...document.errors.map((error) => ({ path: file, message: error.message.split('\n')[0]! })));
    return {};
  }
  visit(document, {
    Scalar(key, node) {
      if (key === 'key') return;
      if (typeof node.value === 'number' || typeof node.value === 'bigint') node.value = node.source ?? String(node.value);
      else if (typeof node.value === 'string') node.value = interpolate(node.value, env);
    },
  });
  return document.toJS() ?? {};
}

function interpolate(text: string, env: NodeJS.ProcessEnv): string | null {
  let unset = false;
  const filled = text.replace(PLACEHOLDER, (_all, name: string) => {
    const value = env[name];
    if (value === undefined || value === '') unset = true;
    return value ?? '';
  });
  return unset ? null : filled;
}

/** Checks a value; what is wrong is added to `faults` under `file` and its path, and `null` returned. */
export function check<T>(schema: ZodType<T>, value: unknown, file: string, faults: Fault[]): T | null {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  faults.push(...faultsOf(result.error, file));
  return null;
}

function faultsOf(error: ZodError, file: string): Fault[] {
  return error.issues.flatMap((issue) => {
    const at = [file, ...issue.path.map(String)].join('.');
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: `${at}.${key}`, message: 'unknown key; check its spelling' }));
    }
    return [{ path: at, message: issue.message }];
  });
}
