/**
 * IP addresses and networks. Pure. All are numbers of 128 bits: an IPv4 address is the IPv6 address ::ffff:a.b.c.d that stands
 * for it, so that it is the same client whichever way its address is written.
 */
import { isIPv4, isIPv6 } from 'node:net';

const BITS = 128;
const MAPPED = 0xffffn << 32n;
/** What one customer of a provider has of IPv6 at least: each may take a new address for every request. */
const SITE_BITS = 64;

interface Network {
  /** The bits that its addresses share, as a number. */
  prefix: bigint;
  /** How many bits are left to its addresses. */
  rest: bigint;
}

/** Whether the text is an IP address, or a CIDR: an address, a slash and the bits of its network. */
export function isNetwork(text: string): boolean {
  return networkOf(text) !== null;
}

/**
 * Whether an address is in one of the networks, which must be such. Text that is no address is in none; a port, which some proxies
 * write behind it, is no part of it.
 */
export function inNetworks(networks: readonly string[]): (address: string | undefined) => boolean {
  const known = networks.flatMap((text) => networkOf(text) ?? []);
  return (address) => {
    const number = numberOf(withoutPort(address));
    return number !== null && known.some(({ prefix, rest }) => number >> rest === prefix);
  };
}

/** Names what is likely one client: an IPv4 address, or the /64 of an IPv6 one. */
export function siteOf(address: string | undefined): string {
  const number = numberOf(withoutPort(address));
  if (number === null) return '';
  const isV4 = number >> 32n === MAPPED >> 32n;
  return (isV4 ? number : number >> BigInt(BITS - SITE_BITS)).toString(16);
}

function networkOf(text: string): Network | null {
  const [, address = '', bits] = /^([^/%]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const number = numberOf(address);
  const width = isIPv4(address) ? 32 : BITS;
  const shared = Number(bits ?? width);
  if (number === null || shared > width) return null;
  const rest = BigInt(width - shared);
  return { prefix: number >> rest, rest };
}

function withoutPort(address = ''): string {
  return /^(?:\[(.*)\]|([\d.]+)):\d+$/.exec(address)?.slice(1).join('') ?? address;
}

/** `null`: not an address. The zone of a link-local one is no part of it. */
function numberOf(text: string): bigint | null {
  const address = text.replace(/%.*$/, '');
  if (isIPv4(address)) return MAPPED | numberOfV4(address);
  if (!isIPv6(address)) return null;
  const [head, tail] = address.split('::').map(groupsOf);
  const missing = 8 - head!.length - (tail?.length ?? 0);
  const groups = tail === undefined ? head! : [...head!, ...new Array<bigint>(missing).fill(0n), ...tail];
  return groups.reduce((number, group) => (number << 16n) | group, 0n);
}

function numberOfV4(address: string): bigint {
  return address.split('.').reduce((number, part) => (number << 8n) | BigInt(part), 0n);
}

/** The groups of 16 bits in a part of an IPv6 address, whose last may be written as an IPv4 address. */
function groupsOf(part: string): bigint[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return [BigInt(`0x${group}`)];
    const number = numberOfV4(group);
    return [number >> 16n, number & 0xffffn];
  });
}
