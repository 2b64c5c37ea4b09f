/** What prices of Stripe buy: each one thing, since what was paid with it must not be either. Pure. */
import type { Pack, Plan, Sold } from './types.ts';

interface Entry {
  kind: string;
  name: string;
  /** Checked by the schema of its kind. */
  body: unknown;
}

/** The prices of Stripe that a plan or a pack is bought with. */
function stripePricesOf({ kind, body }: Entry): readonly string[] {
  if (kind === 'plan') return (body as { stripe_prices?: string[] }).stripe_prices ?? [];
  const price = kind === 'pack' ? (body as { stripe_price?: string }).stripe_price : undefined;
  return price === undefined ? [] : [price];
}

/** A price that an `entry` has though another before it, its `owner`, has it too. */
export interface SharedPrice {
  price: string;
  entry: string;
  owner: string;
  /** Of the price in a catalog file. */
  path: (string | number)[];
}

export function sharedPrices(entries: readonly Entry[]): SharedPrice[] {
  const owners = new Map<string, string>();
  return entries.flatMap((one) =>
    stripePricesOf(one).flatMap((price, at) => {
      const { kind, name } = one;
      const entry = `${kind} "${name}"`;
      const owner = owners.get(price);
      if (owner === undefined) owners.set(price, entry);
      if (owner === undefined || owner === entry) return [];
      const path = kind === 'plan' ? ['plans', name, 'stripe_prices', at] : ['packs', name, 'stripe_price'];
      return [{ price, entry, owner, path }];
    }),
  );
}

/** By the price of Stripe, what it buys: of several, the first that has it. `names`: in the order in which they were written. */
export function soldBy(
  names: readonly Omit<Entry, 'body'>[],
  plans: ReadonlyMap<string, Plan>,
  packs: ReadonlyMap<string, Pack>,
) {
  const sold = new Map<string, Sold>();
  const add = (price: string, what: Sold): void => {
    if (!sold.has(price)) sold.set(price, what);
  };
  for (const { kind, name } of names) {
    const plan = kind === 'plan' ? plans.get(name) : undefined;
    const pack = kind === 'pack' ? packs.get(name) : undefined;
    for (const price of plan?.stripePrices ?? []) add(price, { kind: 'plan', plan: plan! });
    if (pack !== undefined && pack.stripePrice !== null) add(pack.stripePrice, { kind: 'pack', pack });
  }
  return sold;
}
