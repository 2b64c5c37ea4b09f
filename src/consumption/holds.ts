/**
 * Holds that a host application opens under ids of its own, for work whose cost it knows only afterwards.
 *
 *   (new) ──open──▶ open ──settle──▶ settled
 *                    ↺ extend
 *                    ├──release──────▶ released ──settle──▶ settled, late, once
 *                    └──its own time─▶ expired  ──settle──▶ settled, late, once
 *
 * A request's own hold has no such id, so that it is out of reach.
 */
import { promptly } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { MOST_RESERVED, type NamedHold, readNamed, readNamedHold } from '../ledger/named-operations.ts';
import { uuidv7 } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { encodeFrozen } from '../metering/receipt.ts';
import { answered, type ConsumptionDeps, refused, reusedName } from './deps.ts';
import type { NewHold } from './forms.ts';
import { namedCredits, reportedReceipt } from './rating.ts';
import { type Asking, judged } from './standing.ts';

/** A hold as the customer API shows it. */
export interface HoldAnswer {
  id: string;
  status: NamedHold['status'];
  /** What is held now: nothing once it has ended. */
  held: string;
  charged: string;
  expires_at: string;
}

/** The hold of an account by its id. Throws `not_found`. */
export async function readHold({ pool }: ConsumptionDeps, account: bigint, name: string): Promise<HoldAnswer> {
  return present(name, await findHold(pool, account, name));
}

/**
 * Opens a hold, all of it or nothing. The same again answers how it stands; with other fields it throws `reference_reused`. Throws
 * `conflict` where 1,000 are open, what `creditRefusal` says where it does not fit, and `ledger_unavailable` as `answered` does.
 */
export async function openHold(deps: ConsumptionDeps, asking: Asking, asked: NewHold): Promise<HoldAnswer> {
  const { name, amount, ttlSeconds } = asked;
  const fields = { credits: formatCredits(amount), ttl_seconds: ttlSeconds };
  const nothing = (): void => {};
  return judged(deps, asking, nothing, async (_, { principal, catalog }) => {
    const { account, key, policyVersion } = principal;
    const createdAt = deps.clock.now();
    const frozen = encodeFrozen({ ...namedCredits(amount), endpoint: 'hold', stream: false, createdAt });
    const versions = { policyVersion, catalogVersion: catalog.version };
    const terms = { account, id: uuidv7(deps.clock), key, name, fields, amount, ttlSeconds, ...versions, frozen };
    const result = await answered(deps.writer.apply({ verb: 'reserve', ...terms }));
    switch (result.outcome) {
      case 'done':
      case 'repeated':
        return readHold(deps, account, name);
      case 'stale_policy':
        return 'stale';
      case 'exists_with_different_fields': {
        const before = await promptly(readNamed(deps.pool, account, 'reserve', name));
        throw reusedName('id', before?.fields.credits === fields.credits ? 'ttl_seconds' : 'credits');
      }
      case 'too_many_holds':
        throw conflict(
          `This account has ${MOST_RESERVED} holds open, which is the most. Settle or release some first.`,
        );
      default:
        throw await refused(result, principal, amount, deps);
    }
  });
}

/**
 * Charges `amount` for a hold and ends it, whatever was held; one that has ended without a charge is charged late, once. The same
 * again answers the same; another amount throws `conflict`. Never refused for lack of funds. Throws `not_found`.
 */
export async function settleHold(
  deps: ConsumptionDeps,
  account: bigint,
  name: string,
  amount: bigint,
): Promise<HoldAnswer> {
  const hold = await findHold(deps.pool, account, name);
  const facts = { held: hold.amount, createdAt: hold.openedAt.getTime() };
  const receipt = reportedReceipt('hold', { ...namedCredits(amount), usage: {} }, facts);
  const result = await answered(deps.writer.endNamed({ verb: 'settle', account, id: hold.id, amount, receipt }));
  switch (result.outcome) {
    case 'done':
    case 'late':
    case 'repeated':
      return present(name, { ...hold, status: 'settled', charged: result.amount });
    case 'exists_with_different_amount':
      throw conflict(`This hold was settled before, at ${formatCredits(result.amount)} credits.`, 'credits');
    case 'hold_not_found':
      // Its month is archived: docs/ledger-archive.md.
      throw noHold(name);
    default:
      throw new TollgateError('internal_error', { cause: `settling a hold answered ${result.outcome}` });
  }
}

/** Ends a hold without a charge; one that has ended so already stays as it is. Throws `not_found`, and `conflict` for a settled one. */
export async function releaseHold(deps: ConsumptionDeps, account: bigint, name: string): Promise<HoldAnswer> {
  let hold = await findHold(deps.pool, account, name);
  if (hold.status === 'open') {
    const facts = { held: hold.amount, createdAt: hold.openedAt.getTime() };
    const receipt = reportedReceipt('hold', { ...namedCredits(0n), usage: {} }, facts);
    await answered(deps.writer.endNamed({ verb: 'release', account, id: hold.id, receipt }));
    hold = await findHold(deps.pool, account, name);
  }
  if (hold.status === 'settled') {
    throw conflict(`This hold is settled, at ${formatCredits(hold.charged)} credits: it cannot be released any more.`);
  }
  return present(name, hold);
}

/**
 * Adds `amount` to an open hold; its expiry stays. `once`: the same again, under the same key, adds nothing more; with another
 * amount it throws `idempotency_key_reused`. Throws `not_found`, `conflict` for a hold that has ended, and as `openHold` does.
 */
export async function extendHold(
  deps: ConsumptionDeps,
  principal: { account: bigint; key: bigint },
  name: string,
  { amount, once }: { amount: bigint; once: string | null },
): Promise<HoldAnswer> {
  const { account } = principal;
  const { id } = await findHold(deps.pool, account, name);
  const key = `${id} ${once ?? uuidv7(deps.clock)}`;
  const fields = { credits: formatCredits(amount) };
  const result = await answered(deps.writer.apply({ verb: 'enlarge', account, id, name: key, fields, amount }));
  switch (result.outcome) {
    case 'done':
    case 'repeated':
      return readHold(deps, account, name);
    case 'exists_with_different_fields':
      throw new TollgateError('idempotency_key_reused', { param: 'credits' });
    case 'already_ended':
      throw conflict('This hold has ended, so that nothing can be added to it. Open another one.');
    default:
      throw await refused(result, principal, amount, deps);
  }
}

async function findHold(pool: ConsumptionDeps['pool'], account: bigint, name: string): Promise<NamedHold> {
  // No id has NUL, which the database would not take.
  const hold = name.includes('\0') ? null : await promptly(readNamedHold(pool, account, name));
  if (hold === null) throw noHold(name);
  return hold;
}

function noHold(name: string): TollgateError {
  return new TollgateError('not_found', { message: `There is no hold ${JSON.stringify(name)}.` });
}

function present(name: string, { status, amount, charged, expiresAt }: NamedHold): HoldAnswer {
  return {
    id: name,
    status,
    held: formatCredits(status === 'open' ? amount : 0n),
    charged: formatCredits(charged),
    expires_at: expiresAt.toISOString(),
  };
}

function conflict(message: string, param: string | null = null): TollgateError {
  return new TollgateError('conflict', { message, param });
}
