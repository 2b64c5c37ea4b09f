/** What recent requests to a model would have cost at another price: the same usage, rated again. Nothing is changed. */
import { setImmediate as breath } from 'node:timers/promises';
import type { Pool } from 'pg';
import { priceOf } from '../catalog/build.ts';
import type { ModelEntry } from '../catalog/file.ts';
import type { Price } from '../catalog/price.ts';
import { charge } from '../catalog/rating.ts';
import { type Charge, recentCharges } from '../ledger/recent.ts';
import type { Clock } from '../lib/clock.ts';
import { publicId, publicUuid } from '../lib/ids.ts';
import { formatCredits, formatDecimal } from '../lib/money.ts';
import { decodeReceipt, type ReceiptFacts } from './receipt.ts';
import { providerCost } from './receipt-margin.ts';

/** The newest so many are rated. */
const MOST_REQUESTS = 1_000;
const MOST_MS = 3_000;
const DAY_MS = 86_400_000;
/** Rated between two breaths of the event loop: a few milliseconds. */
const PER_BREATH = 50;
const LARGEST = 10;
/** Where a receipt names its model, behind the form's version and the endpoint. */
const HEAD_BYTES = 64;

export interface PreviewDeps {
  pool: Pool;
  clock: Clock;
  creditsPerUsd: bigint;
  /** Scaled by 10⁶. */
  markup: bigint;
}

export interface Asked {
  model: string;
  days: number;
  /** The entry in force, and the one that might be. */
  present: ModelEntry;
  proposed: ModelEntry;
}

export interface Preview {
  model: string;
  days: number;
  /** `complete`: these are all requests of those days; else the newest ones, as many as were looked at. */
  looked_at: { charges: number; from: string | null; to: string | null; complete: boolean };
  requests: number;
  /** Requests at the price of a plan or an account: a new price of the model says nothing of them, so that they count nowhere. */
  requests_at_other_prices: number;
  /** What they were charged, and what they would be: estimates stay within their hold. */
  charged: string;
  at_present_price: string;
  at_new_price: string;
  /** Of those requests of which both costs are known. */
  provider_cost: { requests: number; present_usd: string; new_usd: string };
  largest_changes: { request_id: string; account_id: string; charged: string; at_new_price: string; change: string }[];
}

/** Rates the newest requests of the last days anew: 1,000 at most, of what can be looked at in three seconds. */
export async function previewOf(deps: PreviewDeps, asked: Asked): Promise<Preview> {
  const since = deps.clock.now() - asked.days * DAY_MS;
  const until = deps.clock.now() + MOST_MS;
  const needle = Buffer.from(`",${JSON.stringify(asked.model)},`);
  const tally = new Tally(deps, asked);
  let complete = true;
  let looked = 0;
  for await (const slice of recentCharges(deps.pool, needle, needle.length + HEAD_BYTES)) {
    looked += slice.looked;
    for (const [i, found] of slice.found.entries()) {
      if (tally.isFull) break;
      if (i % PER_BREATH === 0) await breath();
      if (found.at.getTime() >= since) tally.add(found);
    }
    complete = slice.isLast || (slice.oldest !== null && slice.oldest.getTime() < since);
    if (tally.isFull) complete = false;
    if (complete || tally.isFull || deps.clock.now() > until) break;
  }
  return tally.result(looked, complete);
}

interface Rated {
  found: Charge;
  atNew: bigint;
}

class Tally {
  readonly #asked: Asked;
  readonly #creditsPerUsd: bigint;
  readonly #present: Price;
  readonly #proposed: Price;
  readonly #rated: Rated[] = [];
  #others = 0;
  #atPresent = 0n;
  #costed = 0;
  #cost = { present: 0n, proposed: 0n };

  constructor({ creditsPerUsd, markup }: PreviewDeps, asked: Asked) {
    this.#asked = asked;
    this.#creditsPerUsd = creditsPerUsd;
    this.#present = priceOf(asked.present, markup);
    this.#proposed = priceOf(asked.proposed, markup);
  }

  get isFull(): boolean {
    return this.#rated.length + this.#others >= MOST_REQUESTS;
  }

  add(found: Charge): void {
    const { model, fixed, priceSource, settled } = decodeReceipt(found.receipt);
    if (settled === null || fixed || model !== this.#asked.model) return;
    if (priceSource) {
      this.#others++;
      return;
    }
    this.#rated.push({ found, atNew: this.#rate(settled, this.#proposed) });
    this.#atPresent += this.#rate(settled, this.#present);
    const [present, proposed] = [this.#asked.present, this.#asked.proposed].map((entry) =>
      providerCost(entry, settled),
    );
    if (!present || !proposed) return;
    this.#costed++;
    this.#cost.present += present.nanoUsd;
    this.#cost.proposed += proposed.nanoUsd;
  }

  /** As it is settled: an estimate never charges more than the hold. */
  #rate({ usage, terms, usageSource, held }: ReceiptFacts, price: Price): bigint {
    const rated = charge(usage, price, this.#creditsPerUsd, terms);
    return usageSource === 'estimated' && rated > held ? held : rated;
  }

  result(charges: number, complete: boolean): Preview {
    const { model, days } = this.#asked;
    const sum = (of: (one: Rated) => bigint): bigint => this.#rated.reduce((all, one) => all + of(one), 0n);
    const times = this.#rated.map(({ found }) => found.at.getTime());
    const [from, to] = times.length === 0 ? [null, null] : [Math.min(...times), Math.max(...times)];
    const change = ({ found, atNew }: Rated): bigint => atNew - found.amount;
    const size = (one: Rated): bigint => (change(one) < 0n ? -change(one) : change(one));
    const largest = this.#rated.toSorted((a, b) => Number(size(b) - size(a))).slice(0, LARGEST);
    return {
      model,
      days,
      looked_at: { charges, from: isoOf(from), to: isoOf(to), complete },
      requests: this.#rated.length,
      requests_at_other_prices: this.#others,
      charged: formatCredits(sum(({ found }) => found.amount)),
      at_present_price: formatCredits(this.#atPresent),
      at_new_price: formatCredits(sum(({ atNew }) => atNew)),
      provider_cost: {
        requests: this.#costed,
        present_usd: formatDecimal(this.#cost.present, NANO_DECIMALS),
        new_usd: formatDecimal(this.#cost.proposed, NANO_DECIMALS),
      },
      largest_changes: largest.map((one) => ({
        request_id: publicUuid('req', one.found.id),
        account_id: publicId('acct', one.found.account),
        charged: formatCredits(one.found.amount),
        at_new_price: formatCredits(one.atNew),
        change: formatCredits(change(one)),
      })),
    };
  }
}

const NANO_DECIMALS = 9;

function isoOf(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
