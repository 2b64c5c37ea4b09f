/**
 * What a request asks of the ledger, and its bytes as the gateway writes them. They are prepared, because making them is
 * the gateway's work. The charges differ, so that one booked for another shows at the gate.
 */
import { readPrice } from '../../../src/catalog/price.ts';
import { boundCharge, charge } from '../../../src/catalog/rating.ts';
import { NANO_PER_CREDIT } from '../../../src/lib/money.ts';
import { encodeFrozen, encodeReceipt, type FrozenFacts } from '../../../src/metering/receipt.ts';

/** What every account is given, in nano-credits: more than any run can spend. */
export const CREDITS = 100_000_000n * NANO_PER_CREDIT;
export const CREDITS_PER_USD = 1_000n;

/** Atto-USD per million tokens. */
const PRICE = readPrice({ input: '0.2', cached_input: '0.1', output: '0.8' });
const INPUT_BOUND = 1_000;
const OUTPUT_BOUND = 1_000;
const LEAST_OUTPUT = 16;
const VARIANTS = 16;

export interface Request {
  /** Nano-credits, all four. */
  want: bigint;
  least: bigint;
  floor: bigint;
  charge: bigint;
  frozen: Buffer;
  receipt: Buffer;
}

export const REQUESTS: readonly Request[] = Array.from({ length: VARIANTS }, (_, variant) => {
  const usage = { input: 220 + variant, output: 100 + 3 * variant };
  const facts: FrozenFacts = {
    ...{ endpoint: 'chat', model: 'gpt-4o-mini', priceVersion: 3, price: PRICE },
    ...{ stream: true, createdAt: Date.now() },
  };
  const want = boundCharge({ input: INPUT_BOUND, output: OUTPUT_BOUND }, PRICE, CREDITS_PER_USD);
  return {
    want,
    least: boundCharge({ input: INPUT_BOUND, output: LEAST_OUTPUT }, PRICE, CREDITS_PER_USD),
    floor: charge({ input: usage.input }, PRICE, CREDITS_PER_USD),
    charge: charge(usage, PRICE, CREDITS_PER_USD),
    frozen: encodeFrozen(facts),
    receipt: encodeReceipt({
      ...{ ...facts, held: want, usage, usageSource: 'provider', clampedTo: null, disconnect: null },
      attempts: [{ provider: 'openai', status: 200, outcome: 'ok', ms: 800 + variant }],
    }),
  };
});
