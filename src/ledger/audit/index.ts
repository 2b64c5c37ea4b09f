/** Audits accounts one after the other: what their facts say, and where what is stored differs from it. */
import type { Pool } from 'pg';
import { AccountAudit } from './account.ts';
import { nameOf } from './chain.ts';
import type { Head } from './facts.ts';
import {
  EVERYBODY,
  type Range,
  readAdjustments,
  readAllocations,
  readEntries,
  readSeqs,
  readSlice,
  type Slice,
} from './read.ts';

/** Rows read by one statement: some ten milliseconds of it, and of this process. */
const PAGE = 5_000;
/** Entries of one account that wait for earlier ones: about 100 MB at most. */
const MOST_EARLY = 400_000;

export interface AuditOptions {
  /** This account alone. */
  account?: bigint;
  /** Called after each page. */
  progress?: (done: { accounts: number; entries: number }) => void;
  /** For tests: other sizes of a page and of what may wait. */
  page?: number;
  mostEarly?: number;
}

/** Audits every account, in the order of their ids, while operations go on. Throws what the driver throws. */
export async function* auditLedger(pool: Pool, options: AuditOptions = {}): AsyncGenerator<AccountAudit> {
  const { account, page = PAGE, mostEarly = MOST_EARLY, progress = () => {} } = options;
  const done = { accounts: 0, entries: 0 };
  const auditor = new Auditor(pool, page, mostEarly, (entries) => {
    done.entries += entries;
    progress(done);
  });
  for (let range = account === undefined ? EVERYBODY : only(account); ; ) {
    const slice = await readSlice(pool, range, page);
    if (slice === null) return;
    const audits = await auditor.audit(slice);
    done.accounts += audits.length;
    progress(done);
    yield* audits;
    range = { ...range, after: slice.range.through };
  }
}

/** What an account without a wallet has in its place. */
const NO_WALLET: Omit<Head, 'account'> = {
  seq: 0,
  posted: 0n,
  held: 0n,
  debt: 0n,
  dormant: 0n,
  headLot: null,
  headLeft: 0n,
  firstLive: null,
  holds: 0n,
  nextChangeAt: 'infinity',
  changesBefore: null,
};

const only = (account: bigint): Range => ({ after: account - 1n, through: account });

class Auditor {
  readonly #pool: Pool;
  readonly #page: number;
  readonly #mostEarly: number;
  readonly #progress: (entries: number) => void;

  constructor(pool: Pool, page: number, mostEarly: number, progress: (entries: number) => void) {
    this.#pool = pool;
    this.#page = page;
    this.#mostEarly = mostEarly;
    this.#progress = progress;
  }

  /** @param through the number of the last entry to look at, where the wallet's is wrong */
  async audit(slice: Slice, through: number | null = null): Promise<AccountAudit[]> {
    const audits = new Map<bigint, AccountAudit>();
    for (const head of slice.heads) {
      const lots = slice.lots.get(head.account)!;
      audits.set(head.account, new AccountAudit(head, lots, through ?? head.seq, this.#mostEarly));
    }
    const strangers = await this.#readFacts(slice.range, audits);
    const behind = await this.#behind([...audits.values()], through);
    for (const audit of audits.values()) audit.conclude();
    for (const { account, subject, expected, found } of slice.holds) {
      audits.get(account)?.reportBroken(subject, expected, found);
    }
    for (const { account, subject, expected, found } of slice.spenders) {
      audits.get(account)?.reportDrifted(subject, expected, found);
    }
    for (const audit of behind) audits.set(audit.account, audit);
    for (const audit of await this.#lost([...slice.lost, ...strangers])) audits.set(audit.account, audit);
    return [...audits.values()].sort((a, b) => (a.account < b.account ? -1 : 1));
  }

  /** Gives each audit its entries, allocations and adjustments; returns accounts of entries that have no audit. */
  async #readFacts(range: Range, audits: ReadonlyMap<bigint, AccountAudit>): Promise<Set<bigint>> {
    const strangers = new Set<bigint>();
    for await (const page of readEntries(this.#pool, range, this.#page)) {
      for (const entry of page) {
        const audit = audits.get(entry.account);
        if (audit === undefined) strangers.add(entry.account);
        else audit.addEntry(entry);
      }
      this.#progress(page.length);
    }
    for await (const page of readAllocations(this.#pool, range, this.#page)) {
      for (const allocation of page) audits.get(allocation.account)?.addAllocation(allocation);
    }
    for await (const page of readAdjustments(this.#pool, range, this.#page)) {
      for (const adjustment of page) audits.get(adjustment.account)?.addAdjustment(adjustment);
    }
    for (const audit of audits.values()) {
      while (audit.chain.finish()) {
        for await (const page of readEntries(this.#pool, only(audit.account), this.#page)) {
          for (const entry of page) audit.addAgain(entry);
        }
      }
    }
    return strangers;
  }

  /**
   * Looks into entries that a wallet did not count when it was read. As a rule they were booked since. Where the wallet does
   * not count them now either, its number is too low, and the account is audited again up to the last of them; unless some
   * are missing in between: then the last one's own number is wrong.
   */
  async #behind(audits: AccountAudit[], through: number | null): Promise<AccountAudit[]> {
    const ahead = audits.filter(({ newest }) => newest !== null);
    const seqs = await readSeqs(
      this.#pool,
      ahead.map(({ account }) => account),
    );
    const again: AccountAudit[] = [];
    for (const audit of ahead) {
      const last = audit.newest!;
      const counted = seqs.get(audit.account)!;
      if (last.seq <= counted) continue;
      if (through === null && audit.newerHaveNoGap) {
        const slice = await readSlice(this.#pool, only(audit.account), this.#page);
        again.push(...(await this.audit(slice!, last.seq)));
      } else audit.reportBroken(`${nameOf(last)} seq`, `at most ${counted}`, last.seq);
    }
    return again;
  }

  /** Accounts that lack a wallet even now: those that were opened a moment ago have one. */
  async #lost(accounts: bigint[]): Promise<AccountAudit[]> {
    const present = await readSeqs(this.#pool, accounts);
    const lost = accounts.filter((account) => !present.has(account));
    return lost.map((account) => {
      const audit = new AccountAudit({ ...NO_WALLET, account }, [], 0, 0);
      audit.reportBroken('wallet', 'a row', 'none');
      return audit;
    });
  }
}
