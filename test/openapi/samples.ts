/** Bodies for the walk over the descriptions, by the name of the call. */

/** Bodies that fit together, where what the schema needs does not. */
export const SAMPLES: Record<string, object> = {
  'POST /account/v1/usage': { usage_id: 'u', credits: '1' },
  'POST /account/v1/entitlements/check': { limit: 'seats' },
  'POST /account/v1/checkout': { pack: 'starter' },
  'POST /admin/v1/accounts/{id}/entitlements': {
    source: 'grant',
    key: 'feature:video',
    value: true,
    reference: 'r',
    reason: 'x',
  },
  'PUT /admin/v1/accounts/{id}/entitlements/{key}': { value: true, reason: 'x' },
  'PUT /admin/v1/accounts/{id}/prices/{model}': { price: { multiple: '0.9' }, reason: 'x' },
  'PUT /admin/v1/models/{model}': { routes: [{ provider: 'on', model: 'x' }], price: { input: '1', output: '2' } },
  'POST /admin/v1/models/{model}/prices': { price: { input: '1', output: '2' } },
  'POST /admin/v1/models/{model}/prices/preview': { price: { input: '1', output: '2' } },
};

const ODD_PRICES = [
  null,
  5,
  'x',
  [],
  {},
  { nonsense: '1' },
  { multiple: '-1' },
  { multiple: '0' },
  { multiple: '1', input: '1' },
  { input: '-1' },
  { input: '1e19' },
];
/** Where nobody should be sent. */
const ODD_LINKS = [
  'javascript:alert(1)',
  'data:text/html,x',
  'http://example.com/',
  'https://user:secret@example.com/',
  '//example.com',
  '/billing',
  'https://',
  'https://example.com/\nset-cookie: a=b',
  'https:\\\\example.com',
  'http://127.0.0.1.example.com/',
  'http://localhost.example.com/',
  'ftp://localhost/',
  `https://example.com/${'x'.repeat(2_000)}`,
];
/** What the description says nothing of: values of any kind, and fields that do not fit together. By the field at fault. */
export const MORE: Record<string, Record<string, object[]>> = {
  'POST /admin/v1/accounts': {
    metadata: [{ a: 5 }, { a: null }, { a: {} }, { '': 'x' }, { a: '\0' }, { a: 'm'.repeat(501) }, many(51)].map(
      (metadata) => ({ name: 'x', metadata }),
    ),
    plan: ['nobody-has-it', '../', '\0'].map((plan) => ({ name: 'x', plan })),
    budget: [{}, { credits: '1' }, { credits: '-1', period: 'day' }, { credits: '1', period: 'year' }].map(
      (budget) => ({ name: 'x', budget }),
    ),
  },
  'PUT /admin/v1/accounts/{id}/prices/{model}': { price: ODD_PRICES.map((price) => ({ price, reason: 'x' })) },
  'PUT /admin/v1/plans/{plan}': {
    prices: ODD_PRICES.map((price) => ({ prices: { 'gpt-*': price } })),
    limits: [{ rpm: -1 }, { rpm: 1.5 }, { rpm: 1e19 }, { 'a b': 1 }, { '\0': 1 }, many(501)].map((limits) => ({
      limits,
    })),
  },
  'PUT /admin/v1/accounts/{id}/entitlements/{key}': {
    value: ['x', 5, {}, [], null].map((value) => ({ value, reason: 'x' })),
    valid_until: ['2001-01-01T00:00:00Z'].map((valid_until) => ({ value: true, reason: 'x', valid_until })),
  },
  'POST /admin/v1/accounts/{id}/entitlements': {
    key: ['nonsense', 'model:', '../', 'limit:seats@x', 'limit:rpm@'].map((key) => ({
      source: 'grant',
      key,
      value: 1,
      reference: 'r',
      reason: 'x',
    })),
    value: [false, 'x', 1, null].map((value) => ({
      source: 'grant',
      key: 'feature:x',
      value,
      reference: 'r',
      reason: 'x',
    })),
  },
  'POST /admin/v1/accounts/{id}/keys': {
    ip_ranges: ['x', '10.0.0.0/33', '::/129', '', '10.0.0.0/-1', '\0'].map((one) => ({ ip_ranges: [one] })),
    scopes: [['admin'], [], ['read', '*']].map((scopes) => ({ scopes })),
    expires_at: ['2001-01-01T00:00:00Z'].map((expires_at) => ({ expires_at })),
  },
  'POST /account/v1/usage': {
    credits: [{ usage_id: 'u', operation: 'video', credits: '1' }],
    operation: [{ usage_id: 'u' }, { usage_id: 'u', operation: 'nobody-has-it' }],
    quantity: [{ usage_id: 'u', credits: '1', quantity: 2 }],
    usage: [
      {},
      { input_tokens: -1 },
      { input_tokens: 1e19 },
      { input_tokens: '0.0000001' },
      { nonsense: 1 },
      { cached_input_tokens: 1 },
    ].map((usage) => ({ usage_id: 'u', model: 'plain', usage })),
    already_done: [{ usage_id: 'u', credits: '1', already_done: true }],
  },
  'POST /account/v1/checkout': {
    pack: [{}],
    plan: [{ pack: 'starter', plan: 'pro' }],
    quantity: [{ pack: 'starter', quantity: 2 }],
    price: [{ pack: 'starter', price: 'price_1' }],
    currency: [
      { plan: 'pro', currency: 'usd' },
      { pack: 'starter', currency: 'USD' },
    ],
    success_url: ODD_LINKS.map((success_url) => ({ pack: 'starter', success_url })),
    cancel_url: ODD_LINKS.map((cancel_url) => ({ pack: 'starter', cancel_url })),
  },
  'PUT /account/v1/auto_recharge': {
    monthly_cap_usd: ['-1', '1.001', '1000000.01', 1e19, '1e3', 'NaN'].map((monthly_cap_usd) => ({
      enabled: false,
      monthly_cap_usd,
    })),
  },
  'POST /account/v1/portal': { return_url: ODD_LINKS.map((return_url) => ({ return_url })) },
  'PUT /admin/v1/packs/{pack}': {
    price: [
      {},
      { usd: '0' },
      { usd: '1.001' },
      { jpy: '1.5' },
      { kwd: '1.005' },
      { isk: '1.5' },
      { USD: '1' },
      { usd: '10000000001' },
    ].map((price) => ({ price, credits: '1' })),
    public: ['yes', 1].map((value) => ({ credits: '1', public: value })),
  },
  'POST /account/v1/entitlements/check': { model: [{}], feature: [{ model: 'plain', feature: 'x' }] },
};

function many(count: number): object {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 1]));
}
