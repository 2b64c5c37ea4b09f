/** Claims in a database, and an account of its own for each test. */
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { Claims, type Place } from '../../src/gateway/idempotency/claims.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { uuidv7 } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { closeWorld, createTestAccount, createWorld, type TestAccount, type World } from '../support/gateway.ts';

export const ROOM = 1_000;
export const ALIVE = 77n;
export const DEAD = 66n;
const hash = (text: string): Buffer => createHash('sha256').update(text).digest();

export let world: World;
export let account: TestAccount;
export let name: string;
export let claims: Claims;

/** Registers the hooks of a test file. */
export function useClaims(): void {
  beforeAll(async () => {
    world = await createWorld();
    await world.pool.query(
      `INSERT INTO owners VALUES ($1, clock_timestamp() + interval '1 hour', clock_timestamp()),
         ($2, clock_timestamp() - interval '1 second', clock_timestamp())`,
      [ALIVE, DEAD],
    );
  });
  afterAll(() => closeWorld(world));
  beforeEach(async () => {
    account = await createTestAccount(world, '1000');
    name = randomUUID();
    claims = claimsOf(ALIVE);
  });
}

export const claimsOf = (owner: bigint, pool = world.pool): Claims =>
  new Claims({ pool, owner, clock: systemClock, log: silentLogger, roomBytes: ROOM });

export const place = (fingerprint = 'a body', under = name): Place => ({
  account: account.account,
  key: account.keyId,
  name: hash(under),
  fingerprint: hash(fingerprint),
  request: uuidv7(systemClock),
});

/** The claim of a place by a gateway, at an instant from now; by default with the newest policy. */
export async function claim(
  asked: Place,
  options: { after?: string; owner?: bigint; policy?: bigint; catalog?: bigint } = {},
) {
  const { after = '0', owner = ALIVE, policy = 1_000n, catalog = 1_000n } = options;
  const { rows } = await world.pool.query<{ outcome: string; request: string; answer: Buffer | null }>(
    'SELECT * FROM idempotency_claim($1, $2, $3, $4, $5, $6, $7, $8, 1000, clock_timestamp() + $9::interval)',
    [asked.account, asked.key, asked.name, asked.fingerprint, asked.request, owner, policy, catalog, after],
  );
  return rows[0]!;
}

export async function addHold({ account: of, key, request }: Place, owner: bigint): Promise<void> {
  await world.pool.query(
    `INSERT INTO holds (account_id, key_id, amount, floor, owner, opened_at, id, on_orphan, frozen)
     VALUES ($1, $2, 0, 0, $3, clock_timestamp(), $4, 0, '')`,
    [of, key, owner, request],
  );
}
export const endHolds = (owner: bigint) => world.pool.query('SELECT ledger_end_owner($1, 100)', [owner]);

export const kept = async (): Promise<{ bytes: bigint; sum: bigint }> =>
  (
    await world.pool.query(
      `SELECT (SELECT bytes FROM idempotency_room WHERE account_id = $1) AS bytes,
         (SELECT sum(size)::bigint FROM idempotency WHERE account_id = $1) AS sum`,
      [account.account],
    )
  ).rows[0];
