/** What can differ between Stripe and us, by name. Pure. */
import { formatCredits } from '../../lib/money.ts';

export type DifferenceKind =
  | 'missing_grant'
  | 'double_grant'
  | 'missing_clawback'
  | 'wrong_clawback'
  | 'wrong_amount'
  | 'orphan_payment'
  | 'wrong_account'
  | 'stuck_intent'
  | 'plan_differs'
  | 'validity_differs'
  | 'ledger_differs'
  | 'undelivered_event'
  | 'dead_event';

export interface Difference {
  kind: DifferenceKind;
  /** Whose; `null`: nobody's. */
  account: bigint | null;
  /** The object of Stripe's that it is of, or our own row. */
  object: string;
  expected: string;
  found: string;
  /** What a person can do about it, where `--repair` cannot. */
  advice: string | null;
}

export interface NamedDifference extends Difference {
  /** By this repair: it was looked at again. */
  mended: boolean;
}

/** A statement of a subscription that is in force. */
export interface Stated {
  account: bigint;
  reference: string;
  plan: string;
  until: Date | null;
}

/** What stands here of an object of Stripe: see `observe.ts`. */
export interface Standing {
  payment: {
    account: bigint;
    paid: bigint;
    currency: string;
    reversed: bigint;
    granted: bigint;
    clawed: bigint;
  } | null;
  /** How many of its lines were looked at, whether or not they came to credits. */
  lines: number;
  orphan: { reason: string; amount: string } | null;
  /** Of our checkouts and recharges: `chk_… open`. */
  intents: ReadonlyMap<string, { account: bigint; status: string }>;
  statements: readonly Stated[];
}

/** What a sync would change of an object. An orphan that stays one differs too, since nothing will mend it by itself. */
export function differencesOf(object: string, before: Standing, after: Standing): Difference[] {
  return [
    ...ofPayment(object, before, after),
    ...ofOrphan(object, after),
    ...ofIntents(before, after),
    ...ofStatements(before, after),
  ];
}

function ofPayment(object: string, before: Standing, { payment, lines }: Standing): Difference[] {
  if (payment === null) return [];
  const was = before.payment;
  const { account } = payment;
  const about = { account, object, advice: null };
  const credits = (nano: bigint): string => `${formatCredits(nano)} credits`;
  const found: Difference[] = [];
  const granted = was?.granted ?? 0n;
  if (payment.granted !== granted) {
    const kind = lines > before.lines ? 'missing_grant' : 'ledger_differs';
    found.push({ ...about, kind, expected: `${credits(payment.granted)} granted`, found: credits(granted) });
  }
  if (was !== null && (was.paid !== payment.paid || was.currency !== payment.currency)) {
    const money = (of: NonNullable<Standing['payment']>): string => `${of.paid} ${of.currency} (minor units) paid`;
    found.push({ ...about, kind: 'wrong_amount', expected: money(payment), found: money(was) });
  }
  const clawed = was?.clawed ?? 0n;
  if (payment.clawed !== clawed) {
    const kind = payment.clawed > clawed ? 'missing_clawback' : 'wrong_clawback';
    found.push({ ...about, kind, expected: `${credits(payment.clawed)} clawed back`, found: credits(clawed) });
  }
  return found;
}

/** Payments that have nothing to do with us, of another business on the same Stripe account, are no difference. */
function ofOrphan(object: string, { orphan }: Standing): Difference[] {
  if (orphan === null || orphan.reason === 'unrelated') return [];
  return [
    {
      kind: 'orphan_payment',
      account: null,
      object,
      expected: 'an account, and a price that is known',
      found: `${orphan.reason}, ${orphan.amount}`,
      advice: `${ORPHAN_ADVICE[orphan.reason] ?? ''}Or refund it at Stripe, or grant it by hand with the reference "${object}".`,
    },
  ];
}

const ORPHAN_ADVICE: Readonly<Record<string, string>> = {
  no_account: 'Set stripe_customer_id of the account that paid (PATCH /admin/v1/accounts/{id}), then repair. ',
  no_price: 'Add its price to a pack or plan (stripe_price, stripe_prices), then repair. ',
};

function ofIntents(before: Standing, after: Standing): Difference[] {
  return [...after.intents].flatMap(([object, { account, status }]) => {
    const was = before.intents.get(object)?.status ?? 'nothing';
    return was === status
      ? []
      : [{ kind: 'stuck_intent' as const, account, object, expected: status, found: was, advice: null }];
  });
}

function ofStatements({ statements: before }: Standing, { statements: after }: Standing): Difference[] {
  const keys = new Set([...before, ...after].map(({ reference }) => reference));
  return [...keys].flatMap((reference): Difference[] => {
    const was = before.find((one) => one.reference === reference);
    const is = after.find((one) => one.reference === reference);
    const account = (is ?? was)!.account;
    const about = { account, object: reference, advice: null };
    if (was?.plan !== is?.plan || (was !== undefined && is !== undefined && was.account !== is.account)) {
      const plan = (of: Stated | undefined): string =>
        of === undefined ? 'no plan' : `plan ${JSON.stringify(of.plan)}`;
      return [{ ...about, kind: 'plan_differs', expected: plan(is), found: plan(was) }];
    }
    if (was?.until?.getTime() === is?.until?.getTime()) return [];
    const until = (of: Stated | undefined): string => `until ${of?.until?.toISOString() ?? 'ever'}`;
    return [{ ...about, kind: 'validity_differs', expected: until(is), found: until(was) }];
  });
}
