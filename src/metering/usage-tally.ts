/** What an account's entries say it used, a day, by key and model. Pure, but for reading them. */
import type { Pool } from 'pg';
import { type Change, readChanges } from '../ledger/changes.ts';
import { endedHold } from '../ledger/requests.ts';
import { readCounts } from './receipt.ts';

/** A row of `usage_days`. */
export interface UsageDay {
  /** 2026-01-31, in UTC. */
  day: string;
  key: bigint;
  model: string;
  requests: bigint;
  inputTokens: bigint;
  outputTokens: bigint;
  /** Nano-credits. */
  credits: bigint;
}

/** What entries come to. */
export class Tally {
  readonly #days = new Map<string, UsageDay>();
  /** How many entries were added. */
  entries = 0n;
  #last: Change | null = null;

  /** The balance after the entry with the highest number; `null`: there was no entry. */
  get balance(): bigint | null {
    return this.#last?.balanceAfter ?? null;
  }

  /** By day, key and model. */
  days(): UsageDay[] {
    return [...this.#days].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, day]) => day);
  }

  /**
   * Adds an entry, on the day it was booked. A request counts when it is charged, be it 0; one that was released, or ended by
   * itself, counts when a late transfer charges it all the same. What is given back is no request, and grants, expiries and
   * adjustments are no usage. Throws on a receipt of another release's form.
   */
  add(change: Change): void {
    this.entries++;
    if (this.#last === null || change.seq > this.#last.seq) this.#last = change;
    const { kind, ended } = change;
    if (kind === 'charge') this.#count(change, change.receipt!, 1n, true);
    else if (kind === 'recovered') this.#count(change, frozenOf(change), 1n, false);
    else if (kind === 'late') this.#count(change, change.receipt!, ended?.kind === 'recovered' ? 0n : 1n, true);
    else if (kind === 'reverse') this.#count(change, ended === null ? null : frozenOf(ended), 0n, false);
  }

  #count(change: Change, receipt: Buffer | null, requests: bigint, served: boolean): void {
    const counts = receipt === null ? { model: '', input: 0, output: 0 } : readCounts(receipt);
    const day = change.at.toISOString().slice(0, 10);
    const key = change.key!;
    const name = `${day} ${key} ${counts.model}`;
    let row = this.#days.get(name);
    if (row === undefined) {
      row = { day, key, model: counts.model, requests: 0n, inputTokens: 0n, outputTokens: 0n, credits: 0n };
      this.#days.set(name, row);
    }
    row.requests += requests;
    row.credits -= change.amount;
    if (!served) return;
    row.inputTokens += BigInt(counts.input);
    row.outputTokens += BigInt(counts.output);
  }
}

/** What was frozen with the hold, or the receipt, which begins with the same. */
function frozenOf(ended: { kind: Change['kind']; receipt: Buffer | null }): Buffer {
  return endedHold(ended.kind, ended.receipt!)?.frozen ?? ended.receipt!;
}

/**
 * Adds up an account's entries with `after` < seq ≤ `through`, in pages. Its memory is bounded by days × keys × models, not by
 * entries. Throws when `signal` says so.
 */
export async function tally(
  pool: Pool,
  account: bigint,
  after: bigint,
  through: bigint,
  signal?: AbortSignal,
): Promise<Tally> {
  const sums = new Tally();
  for await (const page of readChanges(pool, account, after, through)) {
    signal?.throwIfAborted();
    for (const change of page) sums.add(change);
  }
  return sums;
}

/** The arrays of `unnest`, in the order of the columns of `usage_days` after the account. */
export function columnsOf(days: readonly UsageDay[]) {
  return [
    days.map(({ day }) => day),
    days.map(({ key }) => key),
    days.map(({ model }) => model),
    days.map(({ requests }) => requests),
    days.map(({ inputTokens }) => inputTokens),
    days.map(({ outputTokens }) => outputTokens),
    days.map(({ credits }) => credits),
  ];
}
