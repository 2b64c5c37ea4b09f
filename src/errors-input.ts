/** Faults of a client's input as errors that name the field. */
import type { z } from 'zod';
import { TollgateError } from './errors.ts';
import { cursorPosition } from './lib/http-json.ts';

/** Checks input. Throws `invalid_request` with `param` for the first fault; a field the schema does not know is one. */
export function readInput<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw invalidInput(result.error.issues[0]!);
}

function invalidInput(issue: z.core.$ZodIssue): TollgateError {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const param = [...path, issue.keys[0]!].join('.');
    return invalidField(param, 'the field is misspelt, or this release does not support it');
  }
  return path.length === 0
    ? new TollgateError('invalid_request', { message: 'Send one JSON object.' })
    : invalidField(path.join('.'), issue.code === 'invalid_key' ? issue.issues[0]!.message : issue.message);
}

/** The error for one field: `message` completes "Invalid value for 'field': ". */
export function invalidField(param: string, message: string): TollgateError {
  return new TollgateError('invalid_request', { param, message: `Invalid value for '${param}': ${message}.` });
}

/** What a cursor stands for, read by `parse`; `null`: the first page. Throws `invalid_request` on one we did not make. */
export function readCursor<T>(cursor: string | undefined, parse: (position: string) => T | null): T | null {
  if (cursor === undefined) return null;
  const position = parse(cursorPosition(cursor));
  if (position === null) throw invalidField('cursor', 'must be the next_cursor of an earlier page');
  return position;
}
