/** What Stripe is asked for a checkout, and how much money that is. */
import { expect, test } from 'vitest';
import { minorUnits } from '../../../src/catalog/currencies.ts';
import { linkFault, withParameter } from '../../../src/lib/links.ts';
import type { Order } from '../../../src/payments/order.ts';
import { sessionRequest, withSession } from '../../../src/payments/session-request.ts';

test.each([
  ['usd', '10', 1000n],
  ['usd', '9.50', 950n],
  ['usd', '0.1', 10n],
  ['usd', '9999999999.99', 999_999_999_999n],
  ['jpy', '1500', 1500n],
  ['vnd', '1000000', 1_000_000n],
  ['kwd', '3.07', 3070n],
  ['isk', '500', 50_000n],
  ['usd', '1.005', null],
  ['jpy', '1.5', null],
  ['kwd', '3.075', null],
  ['isk', '1.50', null],
  ['usd', '0', null],
  ['usd', '-1', null],
  ['usd', '10000000000', null],
  ['usd', '1e3', null],
  ['usd', '', null],
] as const)('%s %s is %s minor units, exactly', (currency, decimal, minor) => {
  expect(minorUnits(currency, decimal)).toBe(minor);
});

const PACK: Order = {
  kind: 'pack',
  name: 'starter',
  version: 1,
  credits: 1n,
  bonusCredits: 0n,
  expiresDays: null,
  currency: 'usd',
  amountMinor: 1000n,
  stripePrice: null,
  quantity: 1,
};
const WAYS = { successUrl: null, cancelUrl: null, publicUrl: null, reachedAt: 'http://10.0.0.1:8080' };
const OF = { id: 1n, account: 2n, customer: 'cus_1' };
const asked = (
  ways: Partial<typeof WAYS> | { successUrl: string },
  options = { automaticTax: false, savesCard: false },
) => sessionRequest(OF, PACK, { ...WAYS, ...ways }, options);

test('with a public URL browsers come back to our page, whatever the app says', () => {
  const request = asked({ publicUrl: 'https://pay.example.com/x', successUrl: 'https://app.example.com/' } as never);
  expect(request.success_url).toBe('https://pay.example.com/x/billing/return?checkout=chk_0000000000001');
  expect(request.cancel_url).toBe('https://pay.example.com/x/billing/return?checkout=chk_0000000000001&cancelled=1');
});

test('without one they go where the app says, and where it says nothing to the address that it called', () => {
  const app = asked({
    successUrl: 'https://app.example.com/done?a=1#top',
    cancelUrl: 'https://app.example.com/',
  } as never);
  expect(app.success_url).toBe('https://app.example.com/done?a=1&session_id={CHECKOUT_SESSION_ID}#top');
  expect(app.cancel_url).toBe('https://app.example.com/');
  expect(asked({}).success_url).toBe('http://10.0.0.1:8080/billing/return?checkout=chk_0000000000001');
});

test('a session takes its place in the app’s URL, or is added to it', () => {
  expect(withSession('https://a.example/{CHECKOUT_SESSION_ID}/x', 'cs_1')).toBe('https://a.example/cs_1/x');
  expect(withSession('https://a.example/', 'cs_1')).toBe('https://a.example/?session_id=cs_1');
  expect(withParameter('https://a.example/?', 'a', 'b')).toBe('https://a.example/?a=b');
});

test('taxes and cards that are kept are asked for where they are wanted alone', () => {
  const plain = asked({});
  expect(plain).not.toHaveProperty('automatic_tax');
  expect(plain.payment_intent_data).not.toHaveProperty('setup_future_usage');
  const both = asked({}, { automaticTax: true, savesCard: true });
  expect(both).toMatchObject({ automatic_tax: { enabled: true }, customer_update: { address: 'auto' } });
  expect(both.payment_intent_data).toMatchObject({ setup_future_usage: 'off_session' });
});

test.each([
  'https://a.example',
  'https://a.example:8443/x?y#z',
  'http://localhost:3000/',
  'http://[::1]/',
  'http://127.0.0.1/',
])('people may be sent to %s', (url) => expect(linkFault(url)).toBeNull());
test.each([
  'javascript:alert(1)',
  'http://a.example/',
  'https://me:secret@a.example/',
  'https://me@a.example/',
  '//a.example',
  'https:\\\\a.example',
  'https://a.example/\u0000',
  'https://a.exa\tmple/',
  ' https://a.example/',
  'https://ä.example/',
  'http://127.0.0.1.a.example/',
  'http://localhost.a.example/',
  'file:///etc/passwd',
  '',
])('nobody is sent to %j', (url) => expect(linkFault(url)).not.toBeNull());
