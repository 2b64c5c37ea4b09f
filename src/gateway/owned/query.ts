/** Queries of calls on stored answers: names from a list, values as they came. */
import { TollgateError } from '../../errors.ts';

const MOST_CHARS = 2_048;
/** Clients of Azure send the first with everything, others the second: it is not passed with what is created either. */
const DROPPED = new Set(['api-version', 'beta']);

/** The query of a URL as it goes to the provider, with its `?`; empty where there is none. Throws `invalid_request` with `param`. */
export function passedQuery(url: string, names: ReadonlySet<string>): string {
  const at = url.indexOf('?');
  const raw = at < 0 ? '' : url.slice(at + 1);
  if (raw.length > MOST_CHARS) {
    throw new TollgateError('invalid_request', {
      message: `The query of the URL is longer than ${MOST_CHARS} characters.`,
    });
  }
  const passed = raw.split('&').filter((part) => part !== '' && !DROPPED.has(nameOf(part)));
  const unknown = passed.map(nameOf).find((name) => !names.has(name));
  if (unknown !== undefined) {
    throw new TollgateError('invalid_request', {
      param: unknown.slice(0, 100),
      message: `Unknown parameter: ${JSON.stringify(unknown.slice(0, 100))}. This call takes ${[...names].join(', ') || 'none'}.`,
    });
  }
  return passed.length === 0 ? '' : `?${passed.join('&')}`;
}

function nameOf(part: string): string {
  const name = part.split('=', 1)[0]!.replaceAll('+', ' ');
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
