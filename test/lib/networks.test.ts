import { BlockList, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inNetworks, isNetwork, siteOf } from '../../src/lib/networks.ts';

test('an address is in the networks that Node says it is in', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(128), (near, other, bits) => {
      const family = isIPv6(near) ? 'ipv6' : 'ipv4';
      const width = Math.min(bits, family === 'ipv6' ? 128 : 32);
      const node = new BlockList();
      node.addSubnet(near, width, family);
      for (const address of isIPv6(other) === isIPv6(near) ? [near, other] : [near]) {
        expect(inNetworks([`${near}/${width}`])(address)).toBe(node.check(address, family));
      }
    }),
  );
});

test.each([
  ['10.1.2.3', ['10.0.0.0/8'], true],
  ['::ffff:10.1.2.3', ['10.0.0.0/8'], true],
  ['::FFFF:a01:203', ['10.0.0.0/8'], true],
  ['10.1.2.3', ['::ffff:10.0.0.0/104'], true],
  ['11.0.0.1', ['::ffff:10.0.0.0/104', '2001:db8::/32'], false],
  ['10.1.2.3', ['10.1.2.4', '10.1.2.3'], true],
  ['::1', ['127.0.0.1'], false],
  ['fe80::1%eth0', ['fe80::/10'], true],
  ['10.1.2.3:4567', ['10.0.0.0/8'], true],
  ['[fe80::1]:80', ['fe80::/10'], true],
  ['8.8.8.8', ['0.0.0.0/0'], true],
  ['2001:db8::1', ['0.0.0.0/0'], false],
  ['garbage', ['0.0.0.0/0', '::/0'], false],
  [undefined, ['0.0.0.0/0', '::/0'], false],
])('%s in %j: %s', (address, networks, expected) => {
  expect(inNetworks(networks)(address)).toBe(expected);
});

test.each([
  '10.0.0.1:80',
  '10.0.0.0/33',
  '1.2.3',
  '10.0.0.0/',
  '10.0.0.0/-1',
  '::/129',
  'fe80::1%eth0',
  '10.0.0.0/8 ',
  'localhost',
  '',
  '/8',
])('%j is no network', (text) => expect(isNetwork(text)).toBe(false));

test('addresses of one IPv6 site are one client, IPv4 addresses are each their own however they are written', () => {
  expect(siteOf('2001:db8:1:2:3::4')).toBe(siteOf('2001:db8:1:2:ffff:1:2:3'));
  expect(siteOf('2001:db8:1:2::')).not.toBe(siteOf('2001:db8:1:3::'));
  expect(siteOf('1.2.3.4')).toBe(siteOf('::ffff:1.2.3.4'));
  expect(siteOf('1.2.3.4')).not.toBe(siteOf('1.2.3.5'));
});
