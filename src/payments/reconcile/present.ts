/** A report as JSON, and in lines of text. */
import { publicId } from '../../lib/ids.ts';
import type { NamedDifference } from './differences.ts';
import type { Report } from './reconcile.ts';

export function presentReport({ from, to, differences, ...rest }: Report) {
  return { from: from.toISOString(), to: to.toISOString(), ...rest, differences: differences.map(presentDifference) };
}

function presentDifference({ kind, account, object, expected, found, mended, advice }: NamedDifference) {
  const account_id = account === null ? null : publicId('acct', account);
  return { kind, account_id, object, expected, found, mended, advice };
}

/** A line for each difference, and one for the end. */
export function linesOf({ looked, differences, unread, repair, ok }: Report): string[] {
  const remain = differences.filter(({ mended }) => !mended).length;
  return [
    ...differences.map(lineOf),
    ...unread.map(({ object, error }) => `could not be read: ${object}: ${error}`),
    `${ok ? 'ok' : 'NOT OK'}: ${looked} objects looked at, ${differences.length} differences${repair ? `, ${differences.length - remain} mended` : ''}`,
    ...(remain > 0 && !repair ? ['--repair mends what a sync can mend.'] : []),
  ];
}

function lineOf({ kind, account, object, expected, found, mended, advice }: NamedDifference): string {
  const whose = account === null ? '' : ` of ${publicId('acct', account)}`;
  const end = mended ? ' (mended)' : advice === null ? '' : ` (${advice})`;
  return `${kind}: ${object}${whose}: expected ${expected}, found ${found}${end}`;
}
