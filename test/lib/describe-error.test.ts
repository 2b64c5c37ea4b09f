/** An error is told in a line that holds no secret and nobody's address, and fits where it is kept. */
import { expect, test } from 'vitest';
import { describeError } from '../../src/lib/describe-error.ts';

test.each([
  ['Error: away', new Error('away')],
  ['TypeError: x', new TypeError('x')],
  [
    'StripeCardError (card_declined): declined',
    { type: 'StripeCardError', code: 'card_declined', message: 'declined' },
  ],
  [
    'error (ECONNREFUSED): connect 127.0.0.1:5',
    { name: 'error', code: 'ECONNREFUSED', message: 'connect 127.0.0.1:5' },
  ],
  ['Error: nothing', 'nothing'],
])('%s', (text, error) => {
  expect(describeError(error)).toBe(text);
});

test('keys, passwords and addresses are left out, and what is long is cut', () => {
  const text = describeError(
    new Error(
      `sk_live_planted rk_test_planted whsec_planted postgres://u:planted@h/d <planted@example.com> ${'y'.repeat(5_000)}@z.planted`,
    ),
  );
  expect(text).not.toContain('planted');
  expect(text.length).toBeLessThanOrEqual(500);
  expect(describeError(new Error('\0a')).includes('\0')).toBe(false);
  expect(describeError(new Error(`${'a'.repeat(492)}💥`)).isWellFormed()).toBe(true);
});

test('what is hostile takes no time', () => {
  for (const text of ['@'.repeat(1e6), 'a'.repeat(1e6), 'a@'.repeat(5e5), ':/'.repeat(5e5), 'sk_'.repeat(3e5)]) {
    expect(describeError(new Error(text)).length).toBeLessThanOrEqual(500);
  }
});
