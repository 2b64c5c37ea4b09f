/** What the admin API answers, as schemas; what it shares with the customer API is in `metering/answers.ts` and `entitlements/answers.ts`. */
import { z } from 'zod';
import { SCOPES } from '../accounts/principal.ts';
import { decisionFields, judgedAt, spokenPage } from '../entitlements/answers.ts';
import { budget, chargeLine, entry, lot, receiptFields } from '../metering/answers.ts';
import { amount, count, id, pageOf, time } from '../openapi/shapes.ts';

export const account = z
  .strictObject({
    id: id('acct'),
    name: z.string(),
    external_id: z.string().nullable(),
    email: z.string().nullable(),
    plan: z.string().nullable(),
    plan_quantity: count,
    status: z.enum(['active', 'suspended']),
    overdraft: amount,
    budget: budget.nullable(),
    stripe_customer_id: z.string().nullable(),
    metadata: z.record(z.string(), z.string()),
    created_at: time,
    erased_at: time.nullable(),
  })
  .meta({ id: 'Account' });
export const accountPage = pageOf(account);
export const erasure = z
  .strictObject({ id: id('acct'), erased: z.literal(true), erased_at: time, revoked_keys: count })
  .meta({ id: 'Erasure' });

const keyTerms = {
  name: z.string().nullable(),
  scopes: z.array(z.enum(SCOPES)),
  created_at: time,
  expires_at: time.nullable(),
  revoked_at: time.nullable(),
  replaced_by: id('key').nullable(),
};
const keyFields = {
  ...keyTerms,
  models: z.array(z.string()).nullable(),
  ip_ranges: z.array(z.string()).nullable(),
  limits: z.record(z.string(), count).nullable(),
  budget: budget.nullable(),
};
const shownOnce = z.string().meta({ description: 'The key itself, shown this once.' });
export const key = z.strictObject({ id: id('key'), ...keyFields }).meta({ id: 'Key' });
export const newKey = z.strictObject({ id: id('key'), key: shownOnce, ...keyFields }).meta({ id: 'NewKey' });
export const keyPage = pageOf(key);
const serviceTerms = { ...keyTerms, create_accounts: z.boolean() };
export const serviceKey = z.strictObject({ id: id('key'), ...serviceTerms }).meta({ id: 'ServiceKey' });
export const newServiceKey = z
  .strictObject({ id: id('key'), key: shownOnce, ...serviceTerms })
  .meta({ id: 'NewServiceKey' });
export const serviceKeyPage = pageOf(serviceKey);
const adminKeyFields = { name: z.string(), created_at: time, revoked_at: time.nullable() };
export const adminKey = z.strictObject({ id: id('adm'), ...adminKeyFields }).meta({ id: 'AdminKey' });
export const newAdminKey = z
  .strictObject({ id: id('adm'), key: shownOnce, ...adminKeyFields })
  .meta({ id: 'NewAdminKey' });
export const adminKeyPage = pageOf(adminKey);
export const revokedAdminKey = z.strictObject({ id: id('adm'), revoked: z.literal(true) });

export const stripeEvent = z
  .strictObject({
    id: id('evt'),
    type: z.string(),
    object_kind: z.string(),
    object_id: z.string().nullable(),
    state: z.enum(['waiting', 'processed', 'ignored', 'dead']),
    attempts: count,
    error: z.string().nullable(),
    source: z.enum(['webhook', 'poll']),
    api_version: z.string().nullable(),
    created_at: time,
    received_at: time,
    due_at: time.nullable(),
    ended_at: time.nullable(),
  })
  .meta({ id: 'StripeEvent' });
export const stripeEventPage = pageOf(stripeEvent);

const shown = z.record(z.string(), z.unknown()).nullable();
export const auditRow = z
  .strictObject({
    id: id('aud'),
    at: time,
    author: z.string(),
    action: z.string(),
    target: z.string(),
    before: shown,
    after: shown,
    reason: z.string().nullable(),
  })
  .meta({ id: 'AuditRow' });
export const auditPage = pageOf(auditRow);

export const grant = lot
  .extend({
    reference: z.string(),
    reason: z.string().nullable(),
    paid: z.strictObject({ amount_minor: count, currency: z.string() }).nullable(),
  })
  .meta({ id: 'Grant' });
export const correction = entry.extend({ reason: z.string().nullable() }).meta({ id: 'Correction' });

const costLine = chargeLine.omit({ credits: true }).extend({ usd: z.string() });
export const costedReceipt = z
  .strictObject({
    ...receiptFields,
    provider_cost_usd: z.string().nullable(),
    provider_cost: z.array(costLine),
    margin: z.strictObject({ credits: amount, usd: z.string() }).nullable(),
  })
  .meta({ id: 'CostedReceipt' });
export const costedReceiptPage = pageOf(costedReceipt);

const table = z.record(z.string(), z.unknown()).meta({ description: 'By unit, as in the catalog.' });
const versioned = { version: count, effective_at: time };
export const price = z
  .strictObject({ ...versioned, price: table.nullable(), cost: table.nullable() })
  .meta({ id: 'Price' });
export const pricePage = pageOf(price);
export const model = z
  .looseObject({ model: z.string(), ...versioned, source: z.string() })
  .meta({ id: 'Model', description: 'With all fields of its entry in the catalog.' });
/** A plan, a pack, an operation or a pass-through route, with its name under its kind, and all fields of its entry in the catalog. */
const name = z.string().optional();
const entryFields = { plan: name, pack: name, operation: name, passthrough: name };
export const catalogEntry = z.looseObject({ ...entryFields, ...versioned, source: z.string() }).meta({
  id: 'CatalogEntry',
  description: 'Its name under its kind, and all fields of its entry in the catalog.',
});
export const catalogEntryPage = pageOf(z.looseObject({ ...entryFields, version: count }));

export const accountPrice = z
  .strictObject({ model: z.string(), ...versioned, price: table.nullable(), reason: z.string().nullable() })
  .meta({ id: 'AccountPrice' });
export const accountPricePage = pageOf(accountPrice);
export const pricePreview = z
  .strictObject({
    model: z.string(),
    days: count,
    looked_at: z.strictObject({
      charges: count,
      from: time.nullable(),
      to: time.nullable(),
      complete: z.boolean(),
    }),
    requests: count,
    requests_at_other_prices: count,
    charged: amount,
    at_present_price: amount,
    at_new_price: amount,
    provider_cost: z.strictObject({ requests: count, present_usd: z.string(), new_usd: z.string() }),
    largest_changes: z.array(
      z.strictObject({
        request_id: id('req'),
        account_id: id('acct'),
        charged: amount,
        at_new_price: amount,
        change: amount,
      }),
    ),
  })
  .meta({ id: 'PricePreview' });

export const statement = z
  .strictObject({
    id: id('ent'),
    source: z.enum(['block', 'override', 'grant', 'subscription', 'plan']),
    key: z.string(),
    reference: z.string().nullable(),
    value: z.unknown(),
    valid_from: time,
    valid_until: time.nullable(),
    state: z.string(),
    reason: z.string().nullable(),
    author: z.string(),
    created_at: time,
  })
  .meta({ id: 'Statement' });
const judged = { account_id: id('acct'), at: judgedAt };
/** All of them, or the answer to what the query asks about. */
export const entitlements = z.union([
  z.strictObject({ ...judged, ...spokenPage.shape, statements: z.array(statement) }),
  z.strictObject({ ...judged, ...decisionFields }),
]);

export const verification = z
  .strictObject({
    ok: z.boolean(),
    entries: count,
    accounts: count,
    differences: z.array(
      z.strictObject({ account_id: id('acct'), subject: z.string(), expected: z.string(), found: z.string() }),
    ),
  })
  .meta({ id: 'Verification' });
