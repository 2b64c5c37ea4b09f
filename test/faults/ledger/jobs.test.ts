/**
 * What gateways do beside requests, with the wire to Postgres cut or frozen at every point of the call. Each is asked again
 * until it is answered; the ledger ends as it does without the fault, also when the frozen call arrives after all.
 */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyOperations } from '../../../src/ledger/operations.ts';
import { grant, hold, type LedgerRig, newId, OWNER, openLedger, second } from '../../ledger/rig.ts';
import { POINTS, type Strike, startWireProxy } from '../../support/wire-proxy.ts';

/** A call that has no answer by then is asked again: too early is as harmless as too late. */
const ANSWER_MS = 100;
const MOST_TRIES = 20;

/** Where the wire is struck; `null`: nowhere. */
type Strikes = Pick<Strike, 'point' | 'fate'> | null;

interface Call {
  text: string;
  values: unknown[];
}

let ledger: LedgerRig;
let lastOwner = 100n;

beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

/** A gateway with a hold of 100; its lease runs out in so many seconds. */
async function gateway(account: bigint, seconds: number): Promise<{ owner: bigint; id: string }> {
  const owner = ++lastOwner;
  const id = newId();
  await ledger.pool.query("INSERT INTO owners VALUES ($1, clock_timestamp() + $2 * interval '1 second', now())", [
    owner,
    seconds,
  ]);
  await applyOperations(ledger.client, [hold(account, id, 100n, { floor: 10n })], owner);
  return { owner, id };
}

/** Brings the account to where the job has work to do. */
const jobs: Record<string, (account: bigint) => Promise<Call>> = {
  heartbeat: async (account) => {
    const { owner, id } = await gateway(account, 1);
    return { text: 'SELECT ledger_heartbeat($1, $2, $3, $4)', values: [owner, [account], [id], [60n]] };
  },
  sweep: async (account) => {
    await gateway(account, -1);
    return { text: 'SELECT ledger_sweep($1, $2)', values: [100, OWNER] };
  },
  end_owner: async (account) => {
    const { owner } = await gateway(account, 60);
    return { text: 'SELECT ledger_end_owner($1, $2)', values: [owner, 100] };
  },
  expire_due: async (account) => {
    await ledger.one(grant(account, 50n, { reference: 'short', expiresAt: second(-5) }), -10);
    return { text: 'SELECT ledger_expire_due($1)', values: [100] };
  },
};

/** Makes the call over the struck wire, and again until it is answered. */
async function insist(call: Call, strike: Strikes): Promise<void> {
  const proxy = await startWireProxy(ledger.database.url);
  const struck = strike === null ? null : proxy.strike({ statement: /ledger_/, ...strike });
  for (let tries = 1; ; tries++) {
    try {
      await ask(proxy.url, call);
      break;
    } catch (error) {
      if (tries === MOST_TRIES) throw error;
    }
  }
  await (await struck)?.deliver();
  await proxy.close();
}

async function ask(url: string, { text, values }: Call): Promise<void> {
  const options = '-c search_path=tollgate';
  const client = new pg.Client({ connectionString: url, options, query_timeout: ANSWER_MS });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query(text, values);
  } finally {
    void client.end(); // Over a frozen wire it would not be heard.
  }
}

async function done(name: string, strike: Strikes): Promise<unknown> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n, { reference: 'first' }), -20);
  const call = await jobs[name]!(account);
  await insist(call, strike);
  const holds = await ledger.pool.query(
    `SELECT amount, metered, lease_until > clock_timestamp() + interval '5 seconds' AS leased
       FROM holds LEFT JOIN owners USING (owner) WHERE account_id = $1`,
    [account],
  );
  return { wallet: await ledger.wallet(account), entries: await ledger.entries(account), holds: holds.rows };
}

describe.each(Object.keys(jobs))('%s', (name) => {
  const strikes = POINTS.flatMap((point) => (['cut', 'freeze'] as const).map((fate) => ({ point, fate })));

  it.each(strikes)('the wire struck when $point, $fate: done, and done once', async (strike) => {
    expect(await done(name, strike)).toEqual(await done(name, null));
  });
});
