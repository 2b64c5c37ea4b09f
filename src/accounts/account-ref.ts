/** How a service key says for whom it acts: `tollgate-account: acct_…`, or `ext:` and an external id, percent-encoded. Pure. */
import { text } from '../lib/http-json.ts';
import { parsePublicId } from '../lib/ids.ts';

export const ACCOUNT_HEADER = 'tollgate-account';

/** An account by its id or by its external id; the other one is `null`. */
export interface AccountRef {
  /** As it was written. */
  text: string;
  id: bigint | null;
  externalId: string | null;
}

/** All that may stand in a header but a space and a comma, with which Node joins several headers of one name. */
const WRITTEN = /^[!-+\--~]+$/;
const externalId = text(255);

/** Reads the header; `null`: it names no account. */
export function parseAccountRef(written: string): AccountRef | null {
  if (!WRITTEN.test(written)) return null;
  const id = parsePublicId('acct', written);
  if (id !== null) return { text: written, id, externalId: null };
  if (!written.startsWith('ext:')) return null;
  const decoded = externalId.safeParse(decode(written.slice('ext:'.length)));
  return decoded.success ? { text: written, id: null, externalId: decoded.data } : null;
}

/** `null`: it is not the percent-encoding of UTF-8. */
function decode(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}
