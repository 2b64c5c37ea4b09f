/** The invoices of a subscription that give each other time back (`given-back.ts`), as Stripe has them. */
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import { behind, boundTo, givesBack, type Member, type Standing, standingsOf } from './given-back.ts';
import { askedOf, fetchReversed, paidAtOf, readLines, subscriptionOf } from './invoice-reads.ts';
import type { LineFacts } from './lines.ts';

/** Invoices of one running period; what is more is not looked at. */
const MOST_BOUND = 100;

type Known = Member & { invoice: Stripe.Invoice };

/** How an invoice stands. One that is not paid has received nothing. */
export async function fetchStanding(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<Standing> {
  if (paidAtOf(invoice) === null) return { paid: 0n, reversed: 0n, refunded: 0n, taken: new Set() };
  const bound = await fetchBound(deps, invoice);
  const most = (member: Known): bigint => (member.asked > 0n ? member.asked : 0n);
  const asked = new Set(behind(invoice.id!, bound));
  const members = await Promise.all(
    bound.map(async (one) =>
      asked.has(one) ? { ...one, reversed: await fetchReversed(deps, one.invoice, most(one)) } : one,
    ),
  );
  return standingsOf(members).get(invoice.id!)!;
}

/** The other invoices that are bound to one: what they granted may change with it. */
export async function boundInvoices(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<string[]> {
  if (paidAtOf(invoice) === null) return [];
  return (await fetchBound(deps, invoice)).map(({ id }) => id).filter((id) => id !== invoice.id);
}

/** Those bound to an invoice that is paid, itself among them. */
async function fetchBound(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<Known[]> {
  const { client } = deps.stripe;
  const subscription = subscriptionOf(invoice);
  const known = new Map<string, Known>();
  const add = async (one: Stripe.Invoice): Promise<void> => {
    const paidAt = paidAtOf(one);
    if (paidAt === null || known.has(one.id!)) return;
    const lines = await withBarren(deps, one.id!, await readLines(client, one), paidAt);
    known.set(one.id!, { id: one.id!, invoice: one, paidAt, asked: askedOf(one), reversed: 0n, lines });
  };
  await add(invoice);
  // Those it gives back time of, and those that they do: a map is walked with what is added meanwhile.
  for (const member of known.values()) {
    const named = member.lines.filter((line) => givesBack(line, member.paidAt)).map(({ credits }) => credits!);
    for (const id of new Set(named)) {
      if (!known.has(id) && known.size < MOST_BOUND)
        await add(await client.invoices.retrieve(id, { expand: ['payments'] }));
    }
  }
  const first = Math.min(...[...known.values()].map((member) => member.invoice.created));
  const last = Math.max(...[...known.values()].flatMap(({ lines }) => lines.map(({ end }) => end.getTime() / 1000)));
  if (subscription !== null && last > first) {
    const asked = {
      subscription,
      status: 'paid' as const,
      created: { gte: first, lte: last },
      expand: ['data.payments'],
    };
    const later = await client.invoices.list({ ...asked, limit: 100 }).autoPagingToArray({ limit: MOST_BOUND });
    for (const one of later) await add(one);
  }
  return boundTo(invoice.id!, [...known.values()]);
}

/**
 * The lines of an invoice, of which none gives back time that came without credits, as that of an add-on beside the plan: its money is
 * none of theirs. An invoice that was posted tells which of its lines granted; of one that was not yet, the catalog does.
 */
async function withBarren(
  deps: PaymentDeps,
  id: string,
  lines: readonly LineFacts[],
  paidAt: Date,
): Promise<LineFacts[]> {
  const back = lines.filter((line) => givesBack(line, paidAt));
  const { rows } = await deps.pool.query<{ invoice: string; granted: string[] }>(
    `SELECT payment_key AS invoice, array_remove(array_agg(split_part(line, ':', 1)), NULL) AS granted
       FROM payments LEFT JOIN payment_grants USING (payment_key) WHERE payment_key = ANY ($1) GROUP BY payment_key`,
    [[id, ...back.map(({ credits }) => credits)]],
  );
  const granted = new Map(rows.map((row) => [row.invoice, row.granted]));
  const sells = ({ price }: LineFacts): boolean => {
    const sold = price === null ? undefined : deps.catalogs.current.sold.get(price);
    return sold?.kind === 'pack' || (sold?.kind === 'plan' && (sold.plan.included?.credits ?? 0n) > 0n);
  };
  const bears = (line: LineFacts): boolean => granted.get(id)?.includes(line.id) ?? sells(line);
  const givesCredits = (line: LineFacts): boolean => {
    const there = granted.get(line.credits!);
    const named = line.creditedLines ?? [];
    if (there === undefined) return sells(line);
    return named.length === 0 || named.some((one) => there.includes(one));
  };
  return lines.map((line) => {
    if (!back.includes(line)) return { ...line, isBarren: line.asked > 0n && !bears(line) };
    return givesCredits(line) ? line : { ...line, credits: null, isBarren: true };
  });
}
