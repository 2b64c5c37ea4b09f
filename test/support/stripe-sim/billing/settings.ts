/** What billing remembers beside Stripe's objects: settings, all lines of an invoice, what was already told. */
import type { Sim } from '../core.ts';
import type { BillingSettings, Customer, Line } from './types.ts';

const DEFAULTS: BillingSettings = {
  retryDays: [1, 3, 5, 7],
  afterRetries: 'cancel',
  draftSeconds: 3600,
  upcomingDays: null,
};

export function settings(sim: Sim): BillingSettings {
  return sim.side<BillingSettings>('billing.settings').get('') ?? DEFAULTS;
}

/** Sets what Stripe's dashboard sets: the retries of a failed payment, and what follows the last of them. */
export function setSettings(sim: Sim, changed: Partial<BillingSettings>): BillingSettings {
  const after = { ...settings(sim), ...changed };
  sim.side<BillingSettings>('billing.settings').set('', after);
  return after;
}

/** From now on (or no longer) the invoices of this customer cannot be finalized, as when its tax location is unknown. */
export function breakFinalization(sim: Sim, customer: string, broken: boolean): void {
  if (broken) sim.side<boolean>('billing.unfinalizable').set(customer, true);
  else sim.side<boolean>('billing.unfinalizable').delete(customer);
}

/** Every line of an invoice: the invoice itself shows its first ten. */
export function linesOf(sim: Sim, invoice: string): Line[] {
  return sim.side<Line[]>('billing.lines').get(invoice) ?? [];
}

export function keepLines(sim: Sim, invoice: string, lines: Line[]): void {
  sim.side<Line[]>('billing.lines').set(invoice, lines);
}

/** True the first time that it is asked about `what` of `id`: trial_will_end, invoice.overdue and the like are told once. */
export function firstTime(sim: Sim, what: string, id: string): boolean {
  const told = sim.side<boolean>(`billing.${what}`);
  if (told.has(id)) return false;
  told.set(id, true);
  return true;
}

export function alreadyTold(sim: Sim, what: string, id: string): boolean {
  return sim.side<boolean>(`billing.${what}`).has(id);
}

/** The next number of a customer's invoices: `3F2A1B0C-0001`. */
export function invoiceNumber(sim: Sim, customer: Customer): string {
  const counts = sim.side<number>('billing.numbers');
  const count = (counts.get(customer.id) ?? 0) + 1;
  counts.set(customer.id, count);
  return `${customer.invoice_prefix ?? customer.id.slice(-8).toUpperCase()}-${String(count).padStart(4, '0')}`;
}

export function forgetLines(sim: Sim, invoice: string): void {
  sim.side<Line[]>('billing.lines').delete(invoice);
}
