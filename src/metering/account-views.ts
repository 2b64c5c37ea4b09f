/** What both the customer and the admin API answer of an account's money: its balance, its ledger, its requests. */
import type { Pool } from 'pg';
import { readCursor, readInput } from '../errors-input.ts';
import { ENTRY_KINDS, type EntryKind } from '../ledger/outcomes.ts';
import { presentBalance, presentEntry, presentShare, sharesOf } from '../ledger/present.ts';
import { type Entry, type EntryCursor, listEntries, readBalance, type Share } from '../ledger/read.ts';
import { endedHold, type LedgerRequest, listRequests, readRequest } from '../ledger/requests.ts';
import { type Page, pageQuery, toPage } from '../lib/http-json.ts';
import { parsePublicUuid, publicId, publicUuid, type Uuid } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { type Margin, readMargins } from './receipt-margin.ts';
import { presentReceipt, type Receipt, type ReceiptSource, type Refund } from './receipt-view.ts';

/** The balance now; `null`: no such account. */
export async function balanceView(pool: Pool, account: bigint) {
  const balance = await readBalance(pool, account);
  return balance === null ? null : presentBalance(balance);
}

/** A page of entries. Throws `invalid_request` on a query that will not do. */
export async function ledgerView(pool: Pool, account: bigint, query: unknown) {
  const { limit, cursor } = readInput(pageQuery, query);
  const entries = await listEntries(pool, account, { limit: limit + 1, after: readCursor(cursor, entryCursor) });
  return toPage(entries, limit, presentEntry, (entry) => `${entry.id} ${entry.kind}`);
}

/** The receipts of the customer API, or those of the admin API, which say what the request cost us too. */
export type Presenter<R> = (pool: Pool, sources: readonly ReceiptSource[], creditsPerUsd: bigint) => Promise<R[]>;

/** Receipts as customers see them. */
export const forCustomers: Presenter<Receipt> = async (_pool, sources, creditsPerUsd) =>
  sources.map((source) => presentReceipt(source, creditsPerUsd));

/** The same with their provider cost and margin. */
export const forAdmins: Presenter<Receipt & Margin> = async (pool, sources, creditsPerUsd) => {
  const margins = await readMargins(pool, sources, creditsPerUsd);
  return sources.map((source, i) => ({ ...presentReceipt(source, creditsPerUsd), ...margins[i]! }));
};

/** A page of receipts. Throws `invalid_request` on a query that will not do. */
export async function requestsView<R>(
  pool: Pool,
  account: bigint,
  query: unknown,
  creditsPerUsd: bigint,
  present: Presenter<R>,
): Promise<Page<R>> {
  const { limit, cursor } = readInput(pageQuery, query);
  const after = readCursor(cursor, uuidCursor);
  const requests = await listRequests(pool, account, { limit: limit + 1, after });
  const page = toPage(
    requests,
    limit,
    (request) => sourceOf(request, account),
    (request) => request.id,
  );
  return { ...page, data: await present(pool, page.data, creditsPerUsd) };
}

/** The receipt of one request by its public id; `null`: the account has none with that id. */
export async function requestView<R>(
  pool: Pool,
  account: bigint,
  requestId: string,
  creditsPerUsd: bigint,
  present: Presenter<R>,
): Promise<R | null> {
  const id = parsePublicUuid('req', requestId);
  const request = id === null ? null : await readRequest(pool, account, id);
  return request === null ? null : (await present(pool, [sourceOf(request, account)], creditsPerUsd))[0]!;
}

function sourceOf(request: LedgerRequest, account: bigint): ReceiptSource {
  const transfers = request.entries.filter(({ kind }) => kind !== 'reverse');
  const reverse = request.entries.find(({ kind }) => kind === 'reverse');
  const last = transfers.at(-1);
  const ended = last === undefined ? null : endedHold(last.kind, last.receipt!);
  // A request of the ledger has a hold or an entry, and an entry of a request has a receipt.
  const hold = last === undefined ? request.hold! : ended;
  return {
    requestId: publicUuid('req', request.id),
    accountId: publicId('acct', account),
    keyId: request.key === null ? null : publicId('key', request.key),
    status: last === undefined ? 'held' : statusOf(last.kind),
    bytes: hold?.frozen ?? last!.receipt!,
    held: hold?.amount ?? null,
    onOrphan: ended?.onOrphan ?? null,
    charged: transfers.reduce((sum, entry) => sum - entry.amount, 0n),
    lots: paidBy(transfers).map(presentShare),
    refund: reverse === undefined ? null : refundOf(reverse),
    settledAt: last?.at ?? null,
  };
}

/** By the last entry of a request: a late transfer settles what was recovered or released. */
function statusOf(kind: EntryKind): ReceiptSource['status'] {
  if (kind === 'release' || kind === 'lapse') return 'released';
  return kind === 'recovered' ? 'recovered' : 'settled';
}

function refundOf(reverse: Entry): Refund {
  return {
    credits: formatCredits(reverse.amount),
    reason: reverse.reason!,
    lots: sharesOf(reverse).map(presentShare),
    created_at: reverse.at.toISOString(),
  };
}

/** What each lot paid for a request, all its transfers together: a late one may have given back. */
function paidBy(transfers: readonly Entry[]): Share[] {
  const paid = new Map<Uuid, bigint>();
  for (const entry of transfers) {
    for (const { lot, amount } of entry.lots) {
      paid.set(lot, (paid.get(lot) ?? 0n) + (entry.amount > 0n ? -amount : amount));
    }
  }
  return [...paid].map(([lot, amount]) => ({ lot, amount })).filter(({ amount }) => amount !== 0n);
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function uuidCursor(position: string): Uuid | null {
  return UUID.test(position) ? position : null;
}

function entryCursor(position: string): EntryCursor | null {
  const [id, kind] = position.split(' ') as [string, string | undefined];
  const known = ENTRY_KINDS.find((name) => name === kind);
  return UUID.test(id) && known !== undefined ? { id, kind: known } : null;
}
