/** Short forms of the verbs of a host application. */
import type { Consume, Enlarge, Reserve } from '../../src/ledger/named-operations.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { KEY, newId } from './rig.ts';

const named = (account: bigint, amount: bigint, id: Uuid) => ({
  account,
  id,
  amount,
  name: id,
  fields: { credits: amount.toString() },
  key: KEY,
  policyVersion: 1n,
  catalogVersion: 1n,
});

/** Charges `amount` without a hold before it. */
export function consume(account: bigint, amount: bigint, more: Partial<Consume> = {}): Consume {
  const asked = named(account, amount, more.id ?? newId());
  return { verb: 'consume', ...asked, mayOwe: false, receipt: Buffer.from('receipt'), ...more };
}

/** Holds `amount` for a minute. */
export function reserve(account: bigint, amount: bigint, more: Partial<Reserve> = {}): Reserve {
  const asked = named(account, amount, more.id ?? newId());
  return { verb: 'reserve', ...asked, ttlSeconds: 60, frozen: Buffer.from('frozen'), ...more };
}

/** Adds `amount` to a hold. */
export function enlarge(account: bigint, id: Uuid, amount: bigint, name: string = newId()): Enlarge {
  return { verb: 'enlarge', account, id, amount, name, fields: { credits: amount.toString() } };
}
