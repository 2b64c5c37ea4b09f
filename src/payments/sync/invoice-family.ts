/** The invoices of a subscription that give each other time back (`given-back.ts`), as Stripe has them. */
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import { behind, givesBack, type Member, type Standing, standingsOf, touchedBy } from './given-back.ts';
import { askedOf, fetchReversed, paidAtOf, readLines, subscriptionOf } from './invoice-reads.ts';

/** Of a subscription, newest first. */
const MOST_READ = 1_000;
/** Invoices whose refunds and disputes are asked for at once. */
const AT_ONCE = 4;

type Known = Member & { invoice: Stripe.Invoice };

/** How an invoice stands. One that is not paid has received nothing. Throws where more was paid since than is read. */
export async function fetchStanding(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<Standing> {
  if (paidAtOf(invoice) === null) return { paid: 0n, lost: 0n, refunded: 0n, given: [], taken: new Set() };
  const family = await fetchFamily(deps, invoice);
  const most = (member: Known): bigint => (member.asked > 0n ? member.asked : 0n);
  const asked = new Set(behind(invoice.id!, family));
  const members = family.filter((one) => !asked.has(one));
  const left = [...asked];
  while (left.length > 0) {
    const some = left.splice(0, AT_ONCE).map(async (one) => ({
      ...one,
      reversed: await fetchReversed(deps, one.invoice, most(one)),
    }));
    members.push(...(await Promise.all(some)));
  }
  return standingsOf(members).get(invoice.id!)!;
}

/** The other invoices whose credits may change with one. */
export async function touchedInvoices(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<string[]> {
  if (paidAtOf(invoice) === null) return [];
  const touched = touchedBy(invoice.id!, await fetchFamily(deps, invoice));
  return touched.map(({ id }) => id).filter((id) => id !== invoice.id);
}

/** An invoice that is paid, those of its subscription that were paid since, and those before whose money may stand behind them. */
async function fetchFamily(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<Known[]> {
  const { client } = deps.stripe;
  const subscription = subscriptionOf(invoice);
  const known = new Map<string, Known>();
  const named = new Set<string>();
  const add = async (one: Stripe.Invoice): Promise<void> => {
    const paidAt = paidAtOf(one);
    named.delete(one.id!);
    if (paidAt === null || known.has(one.id!)) return;
    const lines = await readLines(client, one);
    known.set(one.id!, { id: one.id!, invoice: one, paidAt, asked: askedOf(one), reversed: 0n, lines });
    for (const line of lines) if (givesBack(line, paidAt) && !known.has(line.credits!)) named.add(line.credits!);
  };
  await add(invoice);
  if (subscription !== null) {
    const asked = { subscription, status: 'paid' as const, expand: ['data.payments'], limit: 100 };
    let read = 0;
    for await (const one of client.invoices.list(asked)) {
      if (one.created < invoice.created && named.size === 0) break;
      // Better none than what is not in proportion: the event waits, and is told of.
      if (++read > MOST_READ) throw new Error(`more than ${MOST_READ} invoices were paid since ${invoice.id}`);
      await add(one);
    }
  }
  // Of no subscription, or not paid.
  for (const id of named) await add(await client.invoices.retrieve(id, { expand: ['payments'] }));
  return [...known.values()];
}
