/**
 * Who a presented API key speaks for. Principals are cached with the policy version they were read at; the hold of each
 * request verifies that version, so the cache can only be late, never wrong with money.
 *
 *   absent ──load──▶ cached ──hold says stale_policy, or it would deny──▶ reloaded (once a request)
 *      └──no such key──▶ unknown (remembered 5 s at most, so that guessing keys costs the database little)
 */
import { timingSafeEqual } from 'node:crypto';
import type { Pool } from 'pg';
import { readOverride } from '../catalog/override.ts';
import type { Override } from '../catalog/types.ts';
import { promptly } from '../db/pool.ts';
import type { Clock } from '../lib/clock.ts';
import { readStatement, type Statement, type WrittenStatement } from './entitlements.ts';
import { keyIdOf, keyNameOf, parseKey } from './key-format.ts';

export const SCOPES = ['inference', 'read', 'consume', 'billing'] as const;
export type Scope = (typeof SCOPES)[number];

export interface Principal {
  account: bigint;
  key: bigint;
  policyVersion: bigint;
  suspended: boolean;
  /** Revoked or expired, by the database's clock when it was read. */
  keyEnded: boolean;
  scopes: readonly Scope[];
  /** What the account may do, as stated and in force when it was read. */
  statements: readonly Statement[];
  /** Globs of the models that the key may use, of those its account may; `null`: all of them. */
  keyModels: readonly string[] | null;
  /** Addresses and CIDRs that the key may be used from; `null`: any. */
  ipRanges: readonly string[] | null;
  /** The key's own limits, by name. */
  keyLimits: Readonly<Record<string, number>> | null;
  /** What the account pays by model, where that is a price of its own; `null`: one that this release cannot read. */
  prices: ReadonlyMap<string, Override | null>;
  /** The catalog's version they are of, where others wait for their instant: at a newer one they are to be read again. */
  pricesAt: bigint | null;
}

interface Cached {
  principal: Principal;
  secretHash: Buffer;
}

const CACHE_LIMIT = 20_000;
const UNKNOWN_LIMIT = 10_000;
const UNKNOWN_MS = 5_000;
const NO_HASH = Buffer.alloc(32);

interface Row {
  account_id: bigint;
  key_id: bigint;
  secret_hash: Buffer;
  scopes: Scope[];
  models: string[] | null;
  ip_ranges: string[] | null;
  limits: Record<string, number> | null;
  policy_version: bigint;
  policy_due: boolean;
  statements: WrittenStatement[] | null;
  suspended: boolean;
  key_ended: boolean;
  prices: { model: string; version: number; price: unknown }[] | null;
  prices_at: bigint | null;
}

export class Principals {
  readonly #pool: Pool;
  readonly #clock: Clock;
  /** By the public characters of the key, so that the hot path need not read them as a number. */
  readonly #cache = new Map<string, Cached>();
  readonly #unknown = new Map<bigint, number>();
  readonly #loading = new Map<bigint, Promise<Cached | null>>();

  constructor(pool: Pool, clock: Clock) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /**
   * The principal of a presented key, or `null` when it is malformed, unknown or its secret is wrong: callers answer all
   * three alike. A revoked or expired key is returned, marked `keyEnded`, so that the caller can confirm it with `reload`.
   * Synchronous when it is cached, for the hot path.
   */
  find(text: string): Principal | null | Promise<Principal | null> {
    const presented = parseKey(text);
    if (presented === null) {
      timingSafeEqual(NO_HASH, NO_HASH);
      return null;
    }
    const cached = this.#cache.get(presented.name);
    if (cached !== undefined) return verified(cached, presented.secretHash);
    return this.#loadKnown(keyIdOf(presented.name)).then((loaded) => verified(loaded, presented.secretHash));
  }

  /**
   * Reads a principal afresh: after `stale_policy`, and before a denial from the cache is sent. Joins no read that began
   * before, which could be older than what made it stale.
   */
  async reload(principal: Principal): Promise<Principal | null> {
    return (await this.#read(principal.key))?.principal ?? null;
  }

  async #loadKnown(key: bigint | null): Promise<Cached | null> {
    if (key === null) return null;
    const unknownUntil = this.#unknown.get(key);
    if (unknownUntil !== undefined && unknownUntil > this.#clock.now()) return null;
    return this.#load(key);
  }

  /** Concurrent loads of one key share a read. */
  #load(key: bigint): Promise<Cached | null> {
    const running = this.#loading.get(key);
    if (running !== undefined) return running;
    const loading = this.#read(key).finally(() => this.#loading.delete(key));
    this.#loading.set(key, loading);
    return loading;
  }

  async #read(key: bigint): Promise<Cached | null> {
    let row = await this.#select(key);
    // Time alone has changed what the account may do. Once it is done it is not due again before the next instant.
    if (row?.policy_due) {
      await promptly(this.#pool.query('SELECT policy_advance($1)', [row.account_id]));
      row = await this.#select(key);
    }
    const name = keyNameOf(key);
    this.#cache.delete(name);
    if (row === undefined) {
      remember(this.#unknown, key, this.#clock.now() + UNKNOWN_MS, UNKNOWN_LIMIT);
      return null;
    }
    const cached = { principal: toPrincipal(row), secretHash: row.secret_hash };
    remember(this.#cache, name, cached, CACHE_LIMIT);
    return cached;
  }

  async #select(key: bigint): Promise<Row | undefined> {
    const reading = this.#pool.query<Row>({
      name: 'principal',
      text: `SELECT k.account_id, k.key_id, k.secret_hash, k.scopes, k.models, k.ip_ranges, k.limits, w.policy_version,
               w.status <> 0 AS suspended, s.state <> 0 OR s.expires_at <= clock_timestamp() AS key_ended, e.due AS policy_due,
               e.statements, o.prices, o.prices_at
             FROM api_keys k JOIN wallets w USING (account_id) JOIN spenders s USING (account_id, key_id),
               LATERAL entitlements_now(k.account_id) e, LATERAL (
                 SELECT jsonb_agg(jsonb_build_object('model', p.model, 'version', p.version, 'price', p.price))
                     FILTER (WHERE p.is_last AND p.price IS NOT NULL) AS prices,
                   min(p.catalog) FILTER (WHERE p.waits) AS prices_at
                 FROM (
                   SELECT t.model, t.version, t.price, c.version AS catalog, t.effective_at >= c.next_change_at AS waits,
                     t.version = max(t.version) FILTER (WHERE t.effective_at < c.next_change_at)
                       OVER (PARTITION BY t.model) AS is_last
                   FROM price_overrides t, catalog_state c WHERE t.account_id = k.account_id) p) o
             WHERE k.key_id = $1`,
      values: [key],
    });
    return (await promptly(reading)).rows[0];
  }
}

function toPrincipal(row: Row): Principal {
  return {
    account: row.account_id,
    key: row.key_id,
    policyVersion: row.policy_version,
    suspended: row.suspended,
    keyEnded: row.key_ended,
    scopes: row.scopes,
    statements: (row.statements ?? []).map(readStatement),
    keyModels: row.models,
    ipRanges: row.ip_ranges,
    keyLimits: row.limits,
    prices: pricesOf(row),
    pricesAt: row.prices_at,
  };
}

const NO_PRICES: Principal['prices'] = new Map();

function pricesOf({ prices }: Row): Principal['prices'] {
  if (prices === null) return NO_PRICES;
  return new Map(prices.map(({ model, version, price }) => [model, readOverride(price, { kind: 'account', version })]));
}

/** Compares in constant time, also when there is nothing to compare with. */
function verified(cached: Cached | null, secretHash: Buffer): Principal | null {
  const same = timingSafeEqual(cached?.secretHash ?? NO_HASH, secretHash);
  return cached !== null && same ? cached.principal : null;
}

/** Adds to a bounded map; the entry that has been in it longest makes room. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, limit: number): void {
  if (map.size >= limit) map.delete(map.keys().next().value!);
  map.set(key, value);
}
