/** What an audit found, as JSON shows it; in the ledger's own units: nano-credits where it is money. */
import { publicId } from '../../lib/ids.ts';
import type { Rebuilding } from '../rebuild.ts';
import type { Verification } from '../verify.ts';
import type { Difference } from './account.ts';

export interface PresentedDifference {
  account_id: string;
  subject: string;
  expected: string;
  found: string;
}

const presentDifference = ({ account, subject, expected, found }: Difference): PresentedDifference => ({
  account_id: publicId('acct', account),
  subject,
  expected,
  found,
});

/** `GET /admin/v1/ledger/verify` and `ledger verify --json`. */
export function presentVerification({ accounts, entries, differences }: Verification) {
  return { ok: differences.length === 0, entries, accounts, differences: differences.map(presentDifference) };
}

/** `ledger rebuild --json`. */
export function presentRebuilding({ accounts, entries, rebuilt, changed, broken }: Rebuilding) {
  return { entries, accounts, rebuilt, changed: changed.map(presentDifference), broken: broken.map(presentDifference) };
}
