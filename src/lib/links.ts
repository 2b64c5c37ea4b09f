/** URLs that others are sent to. Pure. */

/** Of this machine: there http does no harm. */
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
/** All of a URL is ASCII; a parser drops tabs and line ends from within, and whoever reads it next may not. */
const WRITTEN = /^[\x21-\x7e]+$/;

export function isLoopback(url: URL): boolean {
  return LOOPBACK.test(url.hostname);
}

/** Why nobody should be sent to a URL; `null`: they may be. Completes "The URL …". */
export function linkFault(text: string): string | null {
  const url = WRITTEN.test(text) && !text.includes('\\') ? URL.parse(text) : null;
  if (url === null) return 'must be a URL such as https://app.example.com/billing';
  if (url.username !== '' || url.password !== '') return 'must not hold credentials';
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url))) return null;
  return 'must begin with https://, or be on this machine';
}

/** The URL with a parameter more in its query; the value is taken as it is. */
export function withParameter(text: string, name: string, value: string): string {
  const hash = text.indexOf('#');
  const [head, fragment] = hash < 0 ? [text, ''] : [text.slice(0, hash), text.slice(hash)];
  const joint = !head.includes('?') ? '?' : /[?&]$/.test(head) ? '' : '&';
  return `${head}${joint}${name}=${value}${fragment}`;
}
