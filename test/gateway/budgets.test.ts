/** Budgets cannot be overspent either: of two hundred requests at once exactly those pass that fit, in each period anew. */
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { changeAccount } from '../../src/accounts/accounts.ts';
import { changeKey, createKey, PLAIN_KEY } from '../../src/accounts/keys.ts';
import type { BudgetTerms } from '../../src/ledger/wallets.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { formatCredits, parseCredits } from '../../src/lib/money.ts';
import {
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const REQUESTS = 200;
const FIT = 10;
const DAY_MS = 86_400_000;
const ASK = { model: 'strict', max_tokens: 100, messages: [{ role: 'user' as const, content: 'Say hello' }] };
/** What one request holds: its bytes as input tokens at 0.001 credits, and 100 output tokens at 0.002. */
const HOLD = BigInt(JSON.stringify(ASK).length) * 1_000_000n + 200_000_000n;
const CHARGE = 18_000_000n;

let world: World;
let gateways: TestGateway[];
beforeAll(async () => {
  world = await createWorld({}, 'errors: { insufficient_credits_status: 402 }\n');
  gateways = [await startGateway(world), await startGateway(world)];
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.close();
  await expectSettled(world);
  await closeWorld(world);
});

const day = (credits: bigint): BudgetTerms => ({ credits, period: 'day' });
const setAccountBudget = (account: TestAccount, budget: BudgetTerms | null) =>
  changeAccount(world.pool, systemClock, account.account, { budget }, 'test');
const setKeyBudget = ({ account, keyId }: TestAccount, budget: BudgetTerms | null) =>
  changeKey(world.pool, account, keyId, { budget });

/** Two hundred requests at once with those keys in turn, over both gateways. Resolves with what the refused were told. */
async function burst(keys: string[], fit: number): Promise<InstanceType<typeof OpenAI.APIError>[]> {
  world.upstream.script('held');
  const before = world.upstream.requests.length;
  const refused: InstanceType<typeof OpenAI.APIError>[] = [];
  const answers = Array.from({ length: REQUESTS }, (_, i) => {
    const openai = client(gateways[i % 2]!, { key: keys[i % keys.length]! });
    return openai.chat.completions.create(ASK).catch((error) => {
      if (!(error instanceof OpenAI.APIError)) throw error;
      refused.push(error);
    });
  });
  const passed = () => world.upstream.requests.length - before;
  await eventually(() => refused.length + passed() === REQUESTS, `all ${REQUESTS} are decided`);
  expect(passed()).toBe(fit);
  world.upstream.release();
  await Promise.all(answers);
  // Clients were told not to try again: each refusal was one attempt, and none passed later.
  expect([passed(), refused.length]).toEqual([fit, REQUESTS - fit]);
  return refused;
}

/** The period of an account's budgets began a day earlier: now it is over. */
async function turn({ account }: TestAccount): Promise<void> {
  await world.pool.query("UPDATE spenders SET period_start = period_start - interval '1 day' WHERE account_id = $1", [
    account,
  ]);
}

it('a key with a day for ten holds lets ten of two hundred through, and as many when the day has turned', async () => {
  const account = await createTestAccount(world, '1000');
  await setKeyBudget(account, day(BigInt(FIT) * HOLD));
  const resets = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS).toISOString();
  const [error] = await burst([account.key], FIT);
  expect(error).toMatchObject({
    status: 402,
    type: 'insufficient_quota',
    code: 'budget_exceeded',
    param: null,
  });
  expect(error!.headers!.get('x-should-retry')).toBe('false');
  expect(error!.headers!.get('retry-after')).toBeNull();
  const credits = formatCredits(BigInt(FIT) * HOLD);
  expect(error!.message).toContain(`The budget of this API key is ${credits} credits a day, of which 0 are used`);
  expect(error!.message).toContain(`${credits} held by running requests`);
  expect(error!.message).toContain(`resets at ${resets}`);
  // What was charged stays used, what was held above it is free again: one hold fewer fits.
  await burst([account.key], FIT - 1);
  await turn(account);
  await burst([account.key], FIT);
});

it('an account with a budget lets ten through over all its keys', async () => {
  const account = await createTestAccount(world, '1000');
  await setAccountBudget(account, { credits: BigInt(FIT) * HOLD, period: 'total' });
  const terms = { ...PLAIN_KEY, budget: day(1_000n * HOLD) };
  const other = await createKey(world.pool, systemClock, account.account, terms);
  const [error] = await burst([account.key, other.text], FIT);
  expect(error!.message).toContain('The budget of this account is');
  expect(error!.message).toContain(' in total, of which ');
  expect(error!.message).toContain('This budget does not reset.');
});

it('a budget that is raised, or taken away, lets the next request through on every gateway', async () => {
  const account = await createTestAccount(world, '1000');
  const ask = (gateway: TestGateway) => client(gateway, account).chat.completions.create(ASK);
  world.upstream.script('plain');
  await Promise.all(gateways.map(ask));
  await setKeyBudget(account, day(2n * CHARGE));
  for (const gateway of gateways) await expect(ask(gateway)).rejects.toMatchObject({ code: 'budget_exceeded' });
  await setKeyBudget(account, day(2n * CHARGE + HOLD));
  await ask(gateways[0]!);
  await expect(ask(gateways[1]!)).rejects.toMatchObject({ code: 'budget_exceeded' });
  await setKeyBudget(account, null);
  await Promise.all(gateways.map(ask));
});

it('what a budget leaves lowers the output limit, where the model allows it', async () => {
  const account = await createTestAccount(world, '1000');
  await setKeyBudget(account, day(parseCredits('0.5')!));
  world.upstream.script('plain');
  const plain = { model: 'plain', messages: ASK.messages };
  const { response } = await client(gateways[0]!, account).chat.completions.create(plain).withResponse();
  const clamped = Number(response.headers.get('x-tollgate-clamped'));
  expect(clamped).toBeGreaterThanOrEqual(16);
  expect(clamped).toBeLessThan(250);
});

it('a key is told of its own budget first, then its account’s, and of credits last', async () => {
  const account = await createTestAccount(world, '0');
  const ask = (model: string) => client(gateways[0]!, account).chat.completions.create({ ...ASK, model });
  const nothing = day(0n);
  await expect(ask('strict')).rejects.toMatchObject({ code: 'insufficient_quota' });
  await setAccountBudget(account, nothing);
  await expect(ask('strict')).rejects.toThrow('The budget of this account is 0 credits a day');
  await setKeyBudget(account, nothing);
  await expect(ask('strict')).rejects.toThrow('The budget of this API key is 0 credits a day');
  await expect(ask('forbidden')).rejects.toMatchObject({ code: 'model_not_entitled' });
  world.upstream.script('plain');
  await ask('free');
  await changeAccount(world.pool, systemClock, account.account, { status: 'suspended' }, 'test');
  await expect(ask('strict')).rejects.toMatchObject({ code: 'account_suspended' });
});
