/**
 * What a first start on the embedded database makes, so that a newcomer can send a request at once: an admin key and a
 * demo account with 100 credits. Nothing is minted on a database that somebody else runs.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { createAccount, findAccountByExternalId } from './accounts/accounts.ts';
import { createKey, PLAIN_KEY } from './accounts/keys.ts';
import type { LedgerWriter } from './ledger/writer.ts';
import type { Clock } from './lib/clock.ts';
import { uuidv7 } from './lib/ids.ts';
import { NANO_PER_CREDIT } from './lib/money.ts';

const DEMO_ID = 'demo';
const LEAST_SECRET_CHARS = 24;
const DEMO_CREDITS = 100n * NANO_PER_CREDIT;

/** The admin key of the data folder, made at the first call. */
export function adminKeyOf(dataDir: string): { key: string; path: string } {
  const path = join(dataDir, 'admin-key');
  if (!existsSync(path)) writeSecret(path, `tg-admin-${randomBytes(32).toString('base64url')}`);
  return { key: readSecret(path), path };
}

/** The key of the demo account, which is made with its credits at the first call; later calls give the same key. */
export async function demoKeyOf(
  dataDir: string,
  deps: { pool: Pool; writer: LedgerWriter; clock: Clock; creditsPerUsd: bigint },
): Promise<{ key: string; path: string }> {
  const path = join(dataDir, 'demo-key');
  const account = await demoAccount(deps);
  await deps.writer.apply({
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
    paid: null,
    creditsPerUsd: deps.creditsPerUsd,
  });
  if (!existsSync(path)) {
    const { text } = await createKey(deps.pool, deps.clock, account.id, { ...PLAIN_KEY, name: 'demo' });
    writeSecret(path, text);
  }
  return { key: readSecret(path), path };
}

/** The demo account, however it was changed since it was made. */
async function demoAccount({ pool, clock }: { pool: Pool; clock: Clock }): Promise<{ id: bigint }> {
  const existing = await findAccountByExternalId(pool, DEMO_ID);
  if (existing !== null) return existing;
  const terms = {
    name: 'Demo',
    externalId: DEMO_ID,
    email: null,
    plan: null,
    planQuantity: 1,
    overdraft: 0n,
    budget: null,
    stripeCustomerId: null,
    metadata: {},
  };
  return (await createAccount(pool, clock, terms, 'bootstrap')).account;
}

/** Whole or not at all: half a secret, left by a full disk, would be one that can be guessed. */
function writeSecret(path: string, secret: string): void {
  const unfinished = `${path}.new`;
  writeFileSync(unfinished, `${secret}\n`, { mode: 0o600 });
  renameSync(unfinished, path);
}

function readSecret(path: string): string {
  const secret = readFileSync(path, 'utf8').trim();
  if (secret.length < LEAST_SECRET_CHARS) {
    throw new Error(`${path} holds no key. Delete it, and start again to have a new one made.`);
  }
  return secret;
}
