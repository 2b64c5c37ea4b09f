/**
 * Who a presented key speaks for. Principals are cached with the policy version they were read at; the hold of each request
 * verifies that version, so the cache can only be late, never wrong with money. Those of service keys are kept by key and account,
 * with the catalog's version too, which rises when a service key ends.
 *
 *   absent ──load──▶ cached ──hold says stale_policy, or it would deny──▶ reloaded (once a request)
 *      └──no such key──▶ unknown (remembered 5 s at most, so that guessing keys costs the database little)
 */
import { timingSafeEqual } from 'node:crypto';
import type { Pool } from 'pg';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { Gathered } from '../lib/gathered.ts';
import { ACCOUNT_HEADER, type AccountRef, parseAccountRef } from './account-ref.ts';
import { keyIdOf, keyNameOf, parseKey } from './key-format.ts';
import { type Known, type Principal, readPrincipal } from './principal.ts';
import { findServiceSecret, openServiceAccount } from './service-keys.ts';

export { isBehind, type Principal, SCOPES, type Scope } from './principal.ts';

const CACHE_LIMIT = 20_000;
const UNKNOWN_LIMIT = 10_000;
const UNKNOWN_MS = 5_000;
const NO_HASH = Buffer.alloc(32);

/** The SHA-256 of a presented secret; of one that was found right before, nothing. */
type Secret = Buffer | 'verified';
type Load = (key: bigint, ref: AccountRef | null) => Promise<Known | null>;

export class Principals {
  readonly #pool: Pool;
  readonly #clock: Clock;
  /** By `placeOf`, so that the hot path need not read the public characters of a key as a number. */
  readonly #cache = new Map<string, Known>();
  readonly #unknown = new Map<bigint, number>();
  readonly #loading = new Map<string, Promise<Known | null>>();
  readonly #reloads = new Gathered<Principal | null>();

  constructor(pool: Pool, clock: Clock) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /**
   * The principal of a presented key, or `null` when it is malformed, unknown or its secret is wrong: callers answer all
   * three alike. A revoked or expired key is returned, marked `keyEnded`, so that the caller can confirm it with `reload`.
   * `actsFor` is the header that a service key must have, and no other may: throws `invalid_request` where it is not so, and
   * `not_found` where it names nobody. Synchronous when it is cached, for the hot path.
   */
  find(text: string, actsFor: string | undefined): Principal | null | Promise<Principal | null> {
    const presented = parseKey(text);
    if (presented === null) return nobody();
    const cached = this.#cache.get(placeOf(presented.name, actsFor));
    if (cached !== undefined) return verified(cached, presented.secretHash);
    return this.#open(keyIdOf(presented.name), actsFor, presented.secretHash, this.#load);
  }

  /** As `find`, by a read that begins with this call; a wrong secret of a key that is cached costs none. */
  async findFresh(text: string, actsFor: string | undefined): Promise<Principal | null> {
    const presented = parseKey(text);
    if (presented === null) return nobody();
    const cached = this.#cache.get(placeOf(presented.name, actsFor));
    if (cached !== undefined && verified(cached, presented.secretHash) === null) return null;
    return this.#open(keyIdOf(presented.name), actsFor, presented.secretHash, this.#read);
  }

  /**
   * Reads a principal afresh: after `stale_policy`, and before a denial from the cache is sent. Joins no read that began
   * before, which could be older than what made it stale; those who wait for it to end share the next. Throws as `find` does.
   */
  reload(principal: Principal): Promise<Principal | null> {
    const { presented, actsFor } = principal;
    return this.#reloads.run(placeOf(keyNameOf(presented), actsFor ?? undefined), () =>
      this.#open(presented, actsFor ?? undefined, 'verified', this.#read),
    );
  }

  async #open(key: bigint | null, actsFor: string | undefined, secret: Secret, load: Load): Promise<Principal | null> {
    const unknownUntil = key === null ? Number.POSITIVE_INFINITY : this.#unknown.get(key);
    if (key === null || (unknownUntil !== undefined && unknownUntil > this.#clock.now())) return null;
    const ref = actsFor === undefined ? null : parseAccountRef(actsFor);
    if (actsFor === undefined || ref !== null) {
      const known = await load(key, ref);
      if (known !== null) return verified(known, secret);
    }
    return this.#openUncommon(key, actsFor, ref, secret, load);
  }

  /** There is no such principal yet: the key is a service key at its first request for an account, or the wrong kind of key. */
  async #openUncommon(
    key: bigint,
    actsFor: string | undefined,
    ref: AccountRef | null,
    secret: Secret,
    load: Load,
  ): Promise<Principal | null> {
    const service = await findServiceSecret(this.#pool, key);
    if (service === null) {
      const own = actsFor === undefined ? null : await load(key, null);
      if (own === null) remember(this.#unknown, key, this.#clock.now() + UNKNOWN_MS, UNKNOWN_LIMIT);
      const principal = verified(own, secret);
      if (principal === null || principal.keyEnded) return principal;
      throw wrongHeader('only a service key names the account it acts for. Leave the header out');
    }
    if (!isRight(service, secret) || service.ended) return null;
    if (actsFor === undefined) throw wrongHeader('a service key must name the account it acts for: acct_… or ext:…');
    if (ref === null) throw wrongHeader('it must be acct_… or ext: and an external id, percent-encoded');
    if (!(await openServiceAccount(this.#pool, this.#clock, key, ref))) {
      throw new TollgateError('not_found', {
        param: ACCOUNT_HEADER,
        message: `There is no account "${ref.text}". Create it first, or use a service key that may create accounts.`,
      });
    }
    // A load that began before may have found nobody.
    return verified(await this.#read(key, ref), secret);
  }

  /** Concurrent loads of one principal share a read. */
  readonly #load = (key: bigint, ref: AccountRef | null): Promise<Known | null> => {
    const place = placeOf(keyNameOf(key), ref?.text);
    const running = this.#loading.get(place);
    if (running !== undefined) return running;
    const loading = this.#read(key, ref).finally(() => this.#loading.delete(place));
    this.#loading.set(place, loading);
    return loading;
  };

  readonly #read = async (key: bigint, ref: AccountRef | null): Promise<Known | null> => {
    const known = await readPrincipal(this.#pool, key, ref);
    const place = placeOf(keyNameOf(key), ref?.text);
    this.#cache.delete(place);
    if (known !== null) remember(this.#cache, place, known, CACHE_LIMIT);
    return known;
  };
}

/** Where a principal is kept: by the public characters of its key and, of a service key, by the account as it is named. */
function placeOf(name: string, actsFor: string | undefined): string {
  return actsFor === undefined ? name : `${name} ${actsFor}`;
}

function nobody(): null {
  timingSafeEqual(NO_HASH, NO_HASH);
  return null;
}

/** Compares in constant time, also when there is nothing to compare with. */
function verified(known: Known | null, secret: Secret): Principal | null {
  const same = isRight(known, secret);
  return known !== null && same ? known.principal : null;
}

function isRight(known: { secretHash: Buffer } | null, secret: Secret): boolean {
  return secret === 'verified' || timingSafeEqual(known?.secretHash ?? NO_HASH, secret);
}

function wrongHeader(message: string): TollgateError {
  return new TollgateError('invalid_request', {
    param: ACCOUNT_HEADER,
    message: `Invalid header '${ACCOUNT_HEADER}': ${message}.`,
  });
}

/** Adds to a bounded map; the entry that has been in it longest makes room. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, limit: number): void {
  if (map.size >= limit) map.delete(map.keys().next().value!);
  map.set(key, value);
}
