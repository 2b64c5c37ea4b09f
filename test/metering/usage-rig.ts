/** Accounts with a past of several days, for tests of usage: operations at instants of ours, with receipts as the gateway writes them. */
import { readPrice } from '../../src/catalog/price.ts';
import type { Usage } from '../../src/catalog/units.ts';
import { applyOperations, type Operation } from '../../src/ledger/operations.ts';
import type { OnOrphan, Result } from '../../src/ledger/outcomes.ts';
import { type Uuid, uuidv7 } from '../../src/lib/ids.ts';
import { encodeFrozen, encodeReceipt } from '../../src/metering/receipt.ts';
import { type Customer, createCustomer, type Rig } from '../admin/rig.ts';

const NEWEST = 1_000_000n;
const PRICE = readPrice({ input: '1', output: '2' });
export const CREDIT = 1_000_000_000n;

export interface Past {
  customer: Customer;
  /** A second key of the account. */
  otherKey: string;
  hold(at: Date, more?: HoldFacts): Promise<Uuid>;
  settle(id: Uuid, at: Date, credits: bigint, model: string, usage: Usage): Promise<Result>;
  /** A hold and its settle; resolves with the id. */
  charge(at: Date, credits: bigint, more?: HoldFacts & { usage?: Usage }): Promise<Uuid>;
  release(id: Uuid, at: Date): Promise<Result>;
  reverse(id: Uuid, at: Date, credits: bigint | null): Promise<Result>;
  adjust(at: Date, credits: bigint): Promise<Result>;
}

export interface HoldFacts {
  key?: bigint;
  model?: string;
  onOrphan?: OnOrphan;
  ttlSeconds?: number | null;
}

/** A customer who was granted 1,000 credits at `opened`. Instants must not go back. */
export async function openPast(rig: Rig, opened: Date, owner = rig.owner): Promise<Past> {
  const customer = await createCustomer(rig, null);
  const { account } = customer;
  const { body: other } = await rig.admin('POST', `/accounts/${customer.id}/keys`, {});
  const { rows } = await rig.database.pool.query<{ key_id: bigint }>(
    'SELECT key_id FROM api_keys WHERE account_id = $1 ORDER BY key_id',
    [account],
  );
  const first = rows[0]!.key_id;
  const apply = async (operation: Operation, at: Date): Promise<Result> => {
    const client = await rig.database.pool.connect();
    try {
      return (await applyOperations(client, [operation], owner, at))[0]!;
    } finally {
      client.release();
    }
  };
  const frozen = (model: string) => ({
    ...{ endpoint: 'chat', model, priceVersion: 1, price: PRICE, stream: false, createdAt: opened.getTime() },
  });
  const hold: Past['hold'] = async (
    at,
    { key = first, model = 'plain', onOrphan = 'charge_metered', ttlSeconds = null } = {},
  ) => {
    const id = uuidv7({ now: () => at.getTime() });
    const terms = { want: CREDIT, least: CREDIT, floor: CREDIT / 10n, policyVersion: NEWEST, catalogVersion: NEWEST };
    const bytes = encodeFrozen(frozen(model));
    await apply({ verb: 'hold', account, id, key, ...terms, onOrphan, ttlSeconds, frozen: bytes }, at);
    return id;
  };
  const receipt = (model: string, usage: Usage): Buffer =>
    encodeReceipt({
      ...{ ...frozen(model), held: CREDIT, usage, usageSource: 'provider', clampedTo: null, disconnect: null },
      attempts: [{ provider: 'demo', status: 200, outcome: 'answered', ms: 12 }],
    });
  const settle: Past['settle'] = (id, at, amount, model, usage) =>
    apply({ verb: 'settle', account, id, amount, receipt: receipt(model, usage) }, at);
  const grant = {
    kind: 'topup' as const,
    reference: 'past',
    priority: 0,
    startsAt: null,
    expiresAt: null,
    reason: null,
  };
  const id = uuidv7({ now: () => opened.getTime() });
  await apply(
    { verb: 'grant', account, id, amount: 1_000n * CREDIT, ...grant, paid: null, creditsPerUsd: 1000n },
    opened,
  );
  return {
    customer,
    otherKey: other.id as string,
    hold,
    settle,
    charge: async (at, credits, { usage = { input: 10, output: 5 }, ...more } = {}) => {
      const held = await hold(at, more);
      await settle(held, at, credits, more.model ?? 'plain', usage);
      return held;
    },
    release: (held, at) => apply({ verb: 'release', account, id: held, receipt: receipt('plain', {}) }, at),
    reverse: (held, at, amount) => apply({ verb: 'reverse', account, id: held, amount, reason: 'because' }, at),
    adjust: (at, amount) => {
      const id = uuidv7({ now: () => at.getTime() });
      const terms = { book: 'adjustment' as const, reference: id, reason: 'because', creditsPerUsd: 1000n };
      return apply({ verb: 'adjust', account, id, amount, ...terms }, at);
    },
  };
}
