/** A person changes auto-recharge: what is asked for is checked before it is kept. */
import type { Catalog, Pack } from '../../catalog/types.ts';
import { invalidField } from '../../errors-input.ts';
import { formatDecimal } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import { stripeFault } from '../faults.ts';
import { syncMethods } from './methods.ts';
import { usdOf } from './price.ts';
import { keepRecharge, type RechargeSettings, type RechargeView, readRecharge } from './settings.ts';

/** What is sent; what is not stays as it is. */
export interface RechargeChange {
  enabled: boolean;
  /** Nano-credits. */
  threshold?: bigint | undefined;
  pack?: string | undefined;
  /** US cents. */
  monthly_cap_usd?: bigint | undefined;
}

/**
 * Changes an account's auto-recharge and answers how it stands then. Enabling needs a threshold, a pack that is sold in US dollars, and
 * a cap that pays for one; a card may come later. Throws `invalid_request` naming the field, and `stripe_unavailable` where Stripe alone
 * knows the price.
 */
export async function changeRecharge(
  deps: PaymentDeps,
  account: bigint,
  catalog: Catalog,
  change: RechargeChange,
): Promise<RechargeView> {
  const { settings } = await readRecharge(deps.pool, account);
  const next: RechargeSettings = {
    enabled: change.enabled,
    threshold: change.threshold ?? settings?.threshold ?? 0n,
    pack: change.pack ?? settings?.pack ?? null,
    monthlyCapMinor: change.monthly_cap_usd ?? settings?.monthlyCapMinor ?? null,
  };
  if (change.enabled && change.threshold === undefined && settings === null) throw needed('threshold');
  const pack = change.enabled || change.pack !== undefined ? packOnSale(catalog, next.pack) : null;
  const price = pack === null ? null : await priceOf(deps, pack);
  if (change.enabled) {
    if (next.monthlyCapMinor === null) throw needed('monthly_cap_usd');
    if (price !== null && next.monthlyCapMinor < price) {
      throw invalidField('monthly_cap_usd', `one pack costs ${formatDecimal(price, 2)} USD, which it must pay for`);
    }
  }
  await keepRecharge(deps.pool, account, next);
  if (change.enabled) await readCard(deps, account);
  return readRecharge(deps.pool, account);
}

function needed(field: string): Error {
  return invalidField(field, 'it is needed to enable auto-recharge');
}

function packOnSale(catalog: Catalog, name: string | null): Pack {
  if (name === null) throw needed('pack');
  const pack = catalog.packs.get(name);
  if (pack?.isPublic) return pack;
  throw invalidField('pack', 'there is no such pack on sale; GET /account/v1/catalog lists what is');
}

async function priceOf(deps: PaymentDeps, pack: Pack): Promise<bigint> {
  const price = await usdOf(deps, pack).catch((error: unknown) => {
    throw stripeFault(error, deps.log);
  });
  if (price !== null) return price;
  throw invalidField('pack', 'it is not sold in US dollars, which auto-recharge pays in');
}

/** So that the answer shows the card. Without Stripe's answer it is read when it is needed. */
async function readCard(deps: PaymentDeps, account: bigint): Promise<void> {
  const { rows } = await deps.pool.query<{ customer: string | null }>(
    'SELECT stripe_customer_id AS customer FROM accounts WHERE account_id = $1',
    [account],
  );
  const customer = rows[0]?.customer ?? null;
  if (customer === null) return;
  await syncMethods(deps, { kind: 'customer', id: customer }, null).catch((error: Error) => {
    deps.log.warn({ cause: error.message }, 'the card of an auto-recharge could not be read');
  });
}
