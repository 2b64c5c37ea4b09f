/** Answers whether an account may: use a model or a feature, or take more of something that is limited. Pure. */
import { z } from 'zod';
import type { Principal } from '../accounts/principals.ts';
import type { Catalog } from '../catalog/types.ts';
import { TollgateError } from '../errors.ts';
import { readInput } from '../errors-input.ts';
import { text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { whole } from '../lib/settings.ts';
import { accessOf, type Who } from './resolve.ts';
import type { Access, Decision } from './types.ts';

/** What binds each request; an account without one is not limited in it. All other limits are the host application's to count. */
export const REQUEST_LIMITS = ['rpm', 'tpm', 'concurrency', 'max_output_tokens'] as const;

const MOST = 999_999_999_999;
const SUBJECTS = ['model', 'feature', 'limit', 'config'] as const;

/** What is asked, exactly one of the first four. `used` and `quantity` bear on a limit alone. */
export interface Asked {
  model?: string | undefined;
  feature?: string | undefined;
  limit?: string | undefined;
  config?: string | undefined;
  used: number;
  quantity: number;
}

const name = text(255);
export const check = z.strictObject({
  model: name.optional(),
  feature: name.optional(),
  limit: name.optional(),
  used: whole(0, MOST).default(0),
  quantity: whole(1, MOST).default(1),
});

/** A check as a customer asks for it. Throws `invalid_request` with the `param` at fault. */
export function readCheck(input: unknown): Asked {
  const asked = readInput(check, input);
  const given = SUBJECTS.filter((one) => (asked as Asked)[one] !== undefined);
  if (given.length === 1) return asked;
  throw new TollgateError('invalid_request', {
    param: given[1] ?? 'model',
    message: 'Name exactly one of "model", "feature" and "limit".',
  });
}

/** A decision, and the limits that would bind what it allows. */
export interface Answer extends Decision {
  limits: Record<(typeof REQUEST_LIMITS)[number], number | null>;
}

/** The answer to a check, by the catalog and the principal as they are. Says nothing of credits. */
export function answer(catalog: Catalog, who: Who & Pick<Principal, 'account' | 'suspended'>, asked: Asked): Answer {
  const access = accessOf(catalog, who);
  const limits = Object.fromEntries(
    REQUEST_LIMITS.map((limit) => [limit, access.binding(limit, asked.model)]),
  ) as Answer['limits'];
  const { allowed, reason, source, value, validUntil } = who.suspended
    ? suspended(who.account, asked)
    : decide(access, asked);
  return { allowed, reason, source, value, validUntil, limits };
}

function decide(access: Access, asked: Asked): Decision {
  if (asked.model !== undefined) return access.model(asked.model);
  if (asked.feature !== undefined) return access.feature(asked.feature);
  if (asked.config !== undefined) return access.config(asked.config);
  return fits(access.limit(asked.limit!), asked);
}

function fits(decision: Decision<number | null>, { limit, used, quantity }: Asked): Decision {
  const { value, reason } = decision;
  if (value === null) {
    const isOpen = (REQUEST_LIMITS as readonly string[]).includes(limit!);
    return {
      ...decision,
      allowed: isOpen,
      reason: `${reason} ${isOpen ? 'So nothing limits it.' : 'What nobody set is refused.'}`,
    };
  }
  const wanted = used + quantity;
  const allowed = wanted <= value;
  const more = wanted === 1 ? '' : ` ${used} used and ${quantity} more ${allowed ? 'fit' : 'do not fit'}.`;
  return { ...decision, allowed, reason: reason + more };
}

function suspended(account: bigint, { limit, config }: Asked): Decision {
  return {
    allowed: false,
    value: limit === undefined && config === undefined ? false : null,
    reason: 'This account is suspended: it may use nothing until it is active again.',
    source: { kind: 'account', id: publicId('acct', account), reason: null },
    validUntil: null,
  };
}
