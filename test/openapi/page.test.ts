/** The page of the admin API, in a real browser: it loads without a complaint, and a call made from it is answered. */
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ADMIN_KEY, createRig, type Rig } from '../admin/rig.ts';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const found = BROWSERS.find((path) => existsSync(path));

if (found === undefined) {
  const said = `NOT RUN: the page of the admin API, in a browser. None of ${BROWSERS.join(', ')} is there.`;
  if (process.env.CI === 'true') throw new Error(said);
  console.warn(said);
}

describe.skipIf(found === undefined)('the page', () => {
  let rig: Rig;
  let browser: Browser;
  let url: string;
  beforeAll(async () => {
    rig = await createRig({ described: true });
    url = await rig.http.listen({ host: '127.0.0.1', port: 0 });
    browser = await chromium.launch({ executablePath: found!, args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    await rig.close();
  });

  test('loads without a complaint, takes the key, and shows what a call answers', async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(20_000);
    const complaints: string[] = [];
    const elsewhere: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith('data:')) elsewhere.push(request.url());
    });
    await page.goto(`${url}/admin/v1/docs#/accounts/postAccounts`);
    await page.locator('.btn.authorize').click();
    await page.locator('.modal-ux input[type=text], .modal-ux input[type=password]').fill(ADMIN_KEY);
    await page.locator('.modal-ux button.authorize').click();
    await page.locator('.modal-ux button.btn-done').click();
    const call = page.locator('#operations-accounts-postAccounts');
    await call.locator('textarea').fill('{"name":"From the page"}');
    await call.locator('button.execute').click();
    const answer = call.locator('.live-responses-table').first();
    expect(await answer.locator('.response-col_status').nth(1).textContent()).toContain('201');
    expect(await answer.textContent()).toContain('"name": "From the page"');
    expect((await rig.admin('GET', '/accounts')).body.data).toMatchObject([{ name: 'From the page' }]);
    expect(await page.locator('.errors-wrapper').count()).toBe(0);
    expect(complaints).toEqual([]);
    expect(elsewhere).toEqual([]);
  });
});
