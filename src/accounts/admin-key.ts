/** The owner's admin key: compared as hashes, in constant time. */
import { hash, timingSafeEqual } from 'node:crypto';
import { TollgateError } from '../errors.ts';

/** A check of an `Authorization` header. `adminKey` null: the admin API is off. Throws `admin_disabled` or `invalid_admin_key`. */
export function adminCheck(adminKey: string | null): (authorization: string | undefined) => void {
  const expected = adminKey === null ? null : hash('sha256', adminKey, 'buffer');
  return (authorization) => {
    if (expected === null) throw new TollgateError('admin_disabled');
    const presented = /^bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? '';
    const same = timingSafeEqual(hash('sha256', presented.trim(), 'buffer'), expected);
    if (!same || presented === '') {
      throw new TollgateError('invalid_admin_key');
    }
  };
}
