/**
 * What a first start on the embedded database makes, so that a newcomer can send a request at once: an admin key and a
 * demo account with 100 credits. Nothing is minted on a database that somebody else runs.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { createAccount } from './accounts/accounts.ts';
import { createKey, DEFAULT_SCOPES } from './accounts/keys.ts';
import type { LedgerWriter } from './ledger/writer.ts';
import type { Clock } from './lib/clock.ts';
import { uuidv7 } from './lib/ids.ts';
import { NANO_PER_CREDIT } from './lib/money.ts';

const DEMO_CREDITS = 100n * NANO_PER_CREDIT;

/** The admin key of the data folder, made at the first call. */
export function adminKeyOf(dataDir: string): { key: string; path: string } {
  const path = join(dataDir, 'admin-key');
  if (!existsSync(path)) writeSecret(path, `tg-admin-${randomBytes(32).toString('base64url')}`);
  return { key: readFileSync(path, 'utf8').trim(), path };
}

/** The key of the demo account, which is made with its credits at the first call; later calls give the same key. */
export async function demoKeyOf(
  dataDir: string,
  deps: { pool: Pool; writer: LedgerWriter; clock: Clock; creditsPerUsd: bigint },
): Promise<{ key: string; path: string }> {
  const path = join(dataDir, 'demo-key');
  const { account } = await createAccount(deps.pool, deps.clock, {
    name: 'Demo',
    externalId: 'demo',
    email: null,
    plan: null,
    overdraft: 0n,
    metadata: {},
  });
  await deps.writer.grant({
    verb: 'grant',
    account: account.id,
    id: uuidv7(deps.clock),
    amount: DEMO_CREDITS,
    kind: 'promo',
    reference: 'demo',
    priority: 0,
    startsAt: null,
    expiresAt: null,
    reason: 'Credits of the demo account',
    creditsPerUsd: deps.creditsPerUsd,
  });
  if (!existsSync(path)) {
    const { text } = await createKey(deps.pool, deps.clock, account.id, {
      name: 'demo',
      scopes: DEFAULT_SCOPES,
      expiresAt: null,
    });
    writeSecret(path, text);
  }
  return { key: readFileSync(path, 'utf8').trim(), path };
}

function writeSecret(path: string, secret: string): void {
  writeFileSync(path, `${secret}\n`, { mode: 0o600, flag: 'wx' });
}
