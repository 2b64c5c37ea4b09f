/** A principal, and the one statement that reads it: all that must be known of an account and a key to judge a request. */
import type { Pool } from 'pg';
import { readOverride } from '../catalog/override.ts';
import type { Override } from '../catalog/types.ts';
import { promptly } from '../db/pool.ts';
import { inNetworks } from '../lib/networks.ts';
import type { AccountRef } from './account-ref.ts';
import { isoText, readStatement, type Statement, type WrittenStatement } from './entitlements.ts';

export const SCOPES = ['inference', 'read', 'consume', 'billing'] as const;
export type Scope = (typeof SCOPES)[number];

/** The account and key that a request speaks for. */
export interface Principal {
  account: bigint;
  /** The key that spends. */
  key: bigint;
  /** The key that was presented: the same, or one that it has replaced. */
  presented: bigint;
  /** Of a service key: the account it was told to act for, as it was told; `null`: a key of the account itself. */
  actsFor: string | null;
  policyVersion: bigint;
  suspended: boolean;
  /** Revoked or expired, by the database's clock when it was read. */
  keyEnded: boolean;
  scopes: readonly Scope[];
  /** The database's instant as of which it was read: text, in microseconds. */
  readAt: string;
  /** What the account may do, as stated and in force when it was read. */
  statements: readonly Statement[];
  /** Globs of the models that the key may use, of those its account may; `null`: all of them. */
  keyModels: readonly string[] | null;
  /** Whether the key may be used from an address; `null`: from any. */
  mayComeFrom: ((address: string | undefined) => boolean) | null;
  /** The key's own limits, by name. */
  keyLimits: Readonly<Record<string, number>> | null;
  /** What the account pays by model, where that is a price of its own; `null`: one that this release cannot read. */
  prices: ReadonlyMap<string, Override | null>;
  /** The catalog's version in force when it was read, what was due counted: an older catalog must not judge it. */
  catalogVersion: bigint;
  /**
   * The catalog's version it is of, where a newer one means to read it again: prices wait for their instant, or a service key
   * may have ended. `null`: policy alone tells of its changes.
   */
  catalogAt: bigint | null;
}

/**
 * Whether a principal must be read again because the catalog is newer: prices of the account that waited may be due, or its
 * service key may have ended.
 */
export function isBehind({ catalogAt }: Principal, catalogVersion: bigint): boolean {
  return catalogAt !== null && catalogAt < catalogVersion;
}

/** A principal, and what the secret of its key must be. */
export interface Known {
  principal: Principal;
  secretHash: Buffer;
}

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
  read_at: string;
  statements: WrittenStatement[] | null;
  suspended: boolean;
  key_ended: boolean;
  prices: { model: string; version: number; price: unknown }[] | null;
  catalog_version: bigint;
  catalog_at: bigint | null;
}

/** An API key. In its overlap, one that was replaced has the terms of the key that replaced it. */
const API_KEY = `SELECT k.account_id, k.key_id, p.secret_hash, k.scopes, k.models, k.ip_ranges, k.limits, false AS is_service,
    p.revoked_at IS NOT NULL OR coalesce(p.expires_at <= clock_timestamp(), false) AS ended
  FROM api_keys p JOIN api_keys k ON k.key_id = coalesce(p.replaced_by, p.key_id) WHERE p.key_id = $1`;

/** A service key and the account it acts for: $2 its id, or $3 its external id. */
const SERVICE_KEY = `SELECT a.account_id, k.key_id, k.secret_hash, k.scopes, NULL::text[] AS models, NULL::text[] AS ip_ranges,
    NULL::jsonb AS limits, true AS is_service,
    k.revoked_at IS NOT NULL OR coalesce(k.expires_at <= clock_timestamp(), false) AS ended
  FROM service_keys k, accounts a
  WHERE k.key_id = $1 AND a.erased_at IS NULL AND a.account_id = coalesce($2, (SELECT x.account_id FROM accounts x WHERE x.external_id = $3))`;

const select = (
  keys: string,
): string => `SELECT k.account_id, k.key_id, k.secret_hash, k.scopes, k.models, k.ip_ranges, k.limits,
    w.policy_version, w.status <> 0 AS suspended, k.ended OR s.state <> 0 OR s.expires_at <= clock_timestamp() AS key_ended,
    e.due AS policy_due, ${isoText('e.at')} AS read_at, e.statements, o.prices, CASE WHEN k.is_service OR o.wait THEN c.version END AS catalog_at,
    c.version + (clock_timestamp() >= c.next_change_at)::integer AS catalog_version
  FROM (${keys}) k JOIN wallets w USING (account_id) JOIN spenders s USING (account_id, key_id) CROSS JOIN catalog_state c,
    LATERAL entitlements_now(k.account_id) e, LATERAL (
      SELECT jsonb_agg(jsonb_build_object('model', p.model, 'version', p.version, 'price', p.price))
          FILTER (WHERE p.is_last AND p.price IS NOT NULL) AS prices,
        bool_or(p.waits) AS wait
      FROM (
        SELECT t.model, t.version, t.price, t.effective_at >= c.next_change_at AS waits,
          t.version = max(t.version) FILTER (WHERE t.effective_at < c.next_change_at) OVER (PARTITION BY t.model) AS is_last
        FROM price_overrides t WHERE t.account_id = k.account_id) p) o`;

const OF_API_KEY = { name: 'principal', text: select(API_KEY) };
const OF_SERVICE_KEY = { name: 'principal_of_service', text: select(SERVICE_KEY) };

/**
 * Reads who a key speaks for; with `ref`, a service key and the account it names. `null`: there is no such key, or it cannot
 * spend from that account yet. Throws `ledger_unavailable`.
 */
export async function readPrincipal(pool: Pool, key: bigint, ref: AccountRef | null): Promise<Known | null> {
  let row = await selectRow(pool, key, ref);
  // Time alone has changed what the account may do. Once it is done it is not due again before the next instant.
  if (row?.policy_due) {
    await promptly(pool.query('SELECT policy_advance($1)', [row.account_id]));
    row = await selectRow(pool, key, ref);
  }
  return row === undefined ? null : { principal: toPrincipal(row, key, ref), secretHash: row.secret_hash };
}

async function selectRow(pool: Pool, key: bigint, ref: AccountRef | null): Promise<Row | undefined> {
  const reading =
    ref === null
      ? pool.query<Row>({ ...OF_API_KEY, values: [key] })
      : pool.query<Row>({ ...OF_SERVICE_KEY, values: [key, ref.id, ref.externalId] });
  return (await promptly(reading)).rows[0];
}

function toPrincipal(row: Row, presented: bigint, ref: AccountRef | null): Principal {
  return {
    account: row.account_id,
    key: row.key_id,
    presented,
    actsFor: ref?.text ?? null,
    policyVersion: row.policy_version,
    suspended: row.suspended,
    keyEnded: row.key_ended,
    scopes: row.scopes,
    readAt: row.read_at,
    statements: (row.statements ?? []).map(readStatement),
    keyModels: row.models,
    mayComeFrom: row.ip_ranges === null ? null : inNetworks(row.ip_ranges),
    keyLimits: row.limits,
    prices: pricesOf(row),
    catalogVersion: row.catalog_version,
    catalogAt: row.catalog_at,
  };
}

const NO_PRICES: Principal['prices'] = new Map();

function pricesOf({ prices }: Row): Principal['prices'] {
  if (prices === null) return NO_PRICES;
  return new Map(prices.map(({ model, version, price }) => [model, readOverride(price, { kind: 'account', version })]));
}
