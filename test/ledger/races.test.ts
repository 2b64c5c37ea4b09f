/**
 * One hold, ended by several at once: settled twice, with other amounts, released, extended, reversed, recovered because
 * its gateway died, or over by itself, from as many connections. Whatever wins, what each is told and what is booked is
 * what the model says for some order of them; one entry ends the hold, and at most one late one follows.
 *
 * LEDGER_RACES=10000 makes it the long run of `npm run soak:ledger`.
 */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { applyOperations, type Operation } from '../../src/ledger/operations.ts';
import { ENTRY_KINDS, type EntryKind, type Outcome } from '../../src/ledger/outcomes.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { ModelAccount } from './model.ts';
import { generator } from './random.ts';
import { extend, grant, hold, KEY, type LedgerRig, newId, openLedger, release, reverse, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const RACES = Number(process.env.LEDGER_RACES ?? 300);
const LANES = 2;
const RACERS = 5;
const CREDITS = 1_000_000_000_000n;
/** Of a hold that ends by itself: long, but each race brings its end near. */
const TTL_SECONDS = 1_000;
/** The latest such an end, after the start of its race. */
const NEAR_MS = 3;

type Ending = 'gateway dies' | 'time is over';
/** What may be asked of the hold at once. The ending is always among them. */
const MOVES = {
  'settle 30': (account: bigint, id: Uuid): Operation => settle(account, id, 30n),
  'settle 30 too': (account: bigint, id: Uuid): Operation => settle(account, id, 30n),
  'settle 31': (account: bigint, id: Uuid): Operation => settle(account, id, 31n),
  'settle 5': (account: bigint, id: Uuid): Operation => settle(account, id, 5n),
  release: (account: bigint, id: Uuid): Operation => release(account, id),
  'extend to 60': (account: bigint, id: Uuid): Operation => extend(account, id, 60n),
  'hold again': (account: bigint, id: Uuid): Operation => hold(account, id, 40n),
  reverse: (account: bigint, id: Uuid): Operation => reverse(account, id),
};
type Move = keyof typeof MOVES;
const ALL_MOVES = Object.keys(MOVES) as Move[];
/** What a hold that is over is asked for last. */
const LAST: Move = 'settle 30';

let ledger: LedgerRig;
const clients: pg.Client[] = [];
beforeAll(async () => {
  console.log(`races: LEDGER_SEED=${SEED} LEDGER_RACES=${RACES}`);
  ledger = await openLedger();
  for (let i = 0; i < LANES * RACERS; i++) {
    const client = new pg.Client({
      connectionString: ledger.database.url,
      options: '-c search_path=tollgate -c plan_cache_mode=force_generic_plan',
    });
    await client.connect();
    clients.push(client);
  }
});
afterAll(async () => {
  await ledger.expectClean();
  await Promise.all(clients.map((client) => client.end()));
  await ledger.close();
});

/** What the racers were told, and what was booked for the hold, in order. */
interface Course {
  told: [Outcome, bigint][];
  entries: [EntryKind, bigint][];
}
const written = (course: Course): string =>
  JSON.stringify(course, (_, value) => (typeof value === 'bigint' ? String(value) : value));

/** Every order of the moves and the ending, on the model. */
function coursesOf(ending: Ending, moves: readonly Move[]): Set<string> {
  const id = newId();
  const courses = new Set<string>();
  for (const order of orders([...moves, ending])) {
    const model = new ModelAccount();
    model.keys.set(KEY, Number.POSITIVE_INFINITY);
    let now = 0;
    const ttlSeconds = ending === 'time is over' ? TTL_SECONDS : null;
    model.apply([grant(1n, CREDITS), hold(1n, id, 40n, { floor: 10n, ttlSeconds })], now);
    const told = new Map<string, [Outcome, bigint]>();
    for (const move of [...order, LAST]) {
      if (move === 'time is over') now = TTL_SECONDS * 1000;
      else if (move === 'gateway dies') model.holds.has(id) && model.recover(id, now);
      else {
        const [answer] = model.apply([MOVES[move](1n, id)], now);
        told.set(told.has(move) ? 'last' : move, [answer!.outcome, answer!.amount]);
      }
    }
    const entries = model.lots.entries.slice(1).map(([kind, amount]): [EntryKind, bigint] => [kind, amount]);
    const last = told.get('last') ?? told.get(LAST)!;
    courses.add(written({ told: [...moves.map((move) => told.get(move)!), last], entries }));
  }
  return courses;
}

function orders<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) => orders(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

/** One race on one hold. */
async function race(
  racers: pg.Client[],
  account: bigint,
  owner: bigint,
  ending: Ending,
  moves: readonly Move[],
  nearMs: number,
) {
  const id = newId();
  const ttlSeconds = ending === 'time is over' ? TTL_SECONDS : null;
  const [first, ...others] = racers;
  await applyOperations(first!, [hold(account, id, 40n, { floor: 10n, ttlSeconds })], owner);
  if (ttlSeconds !== null) {
    await first!.query(
      `WITH near AS (UPDATE holds SET expires_at = clock_timestamp() + make_interval(secs => $3) WHERE account_id = $1 AND id = $2
         RETURNING expires_at) UPDATE wallets SET next_change_at = expires_at FROM near WHERE account_id = $1`,
      [account, id, nearMs / 1000],
    );
  }
  const end = ending === 'gateway dies' ? `ledger_end_owner(${owner}, 10)` : 'ledger_expire_due(10)';
  const [answers] = await Promise.all([
    Promise.all(moves.map((move, i) => applyOperations(others[i]!, [MOVES[move](account, id)], owner))),
    first!.query(`SELECT ${end}`),
  ]);
  if (ttlSeconds !== null) await first!.query('SELECT pg_sleep($1)', [nearMs / 1000]);
  const last = await applyOperations(first!, [MOVES[LAST](account, id)], owner);
  const { rows } = await first!.query<{ kind: number; amount: string }>(
    'SELECT kind, amount FROM entries WHERE account_id = $1 AND id = $2 ORDER BY seq',
    [account, id],
  );
  return {
    told: [...answers, last].map(([answer]): [Outcome, bigint] => [answer!.outcome, answer!.amount]),
    entries: rows.map((row): [EntryKind, bigint] => [ENTRY_KINDS[row.kind - 1]!, BigInt(row.amount)]),
  };
}

const ENDS: EntryKind[] = ['charge', 'release', 'recovered', 'lapse'];

it('whoever wins, it is as if they had come one after the other', { timeout: 30_000 + RACES * 50 }, async () => {
  const possible = new Map<string, Set<string>>();
  const seen = new Map<string, number>();
  const lane = async (n: number): Promise<void> => {
    const random = generator(SEED + n);
    const account = await ledger.newAccount();
    await ledger.one(grant(account, CREDITS));
    for (let i = 0; i < RACES / LANES; i++) {
      const ending: Ending = random(2) === 0 ? 'gateway dies' : 'time is over';
      const moves = [...ALL_MOVES];
      while (moves.length > RACERS - 1) moves.splice(random(moves.length), 1);
      const key = [ending, ...moves].join(' · ');
      if (!possible.has(key)) possible.set(key, coursesOf(ending, moves));
      const racers = clients.slice(n * RACERS, (n + 1) * RACERS);
      const course = await race(racers, account, BigInt(1_000 + n), ending, moves, random(NEAR_MS * 1000) / 1000);
      expect(possible.get(key), `${key}: ${written(course)}`).toContain(written(course));
      expect(course.entries.filter(([kind]) => ENDS.includes(kind))).toHaveLength(1);
      expect(course.entries.filter(([kind]) => kind === 'late').length).toBeLessThanOrEqual(1);
      const how = course.entries.map(([kind]) => kind).join(', ');
      seen.set(how, (seen.get(how) ?? 0) + 1);
    }
    expect((await ledger.wallet(account)).held).toBe(0n);
  };
  await Promise.all(Array.from({ length: LANES }, (_, n) => lane(n)));
  console.log(
    [...seen]
      .sort(([, a], [, b]) => b - a)
      .map(([how, times]) => `${times} × ${how}`)
      .join('\n'),
  );
  for (const kind of ENDS)
    expect(
      [...seen.keys()].some((how) => how.startsWith(kind)),
      `${kind} won sometimes`,
    ).toBe(true);
});
