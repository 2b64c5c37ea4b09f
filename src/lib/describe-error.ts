/** What went wrong in a line, for rows and logs of what speaks with others: they quote keys and addresses, and carry what was sent. */
const LONGEST = 500;

/**
 * Kind, code and message of an error, without what else it carries, and without keys of Stripe, the passwords of URLs and e-mail
 * addresses that its message may quote; at most 500 characters.
 */
export function describeError(error: unknown): string {
  const { name, type, message, code } = Object(error) as Partial<Record<'name' | 'type' | 'message' | 'code', unknown>>;
  const kind = typeof type === 'string' ? type : String(name ?? 'Error');
  return `${kind}${code === undefined ? '' : ` (${String(code)})`}: ${String(message ?? error)}`
    .slice(0, 4 * LONGEST)
    .replace(/\b(sk|rk|pk|whsec)_[\w*]+/g, '$1_***')
    .replace(/:\/\/[^\s/@]+@/g, '://***@')
    .replace(/[^\s@<>"'/]+@[^\s@<>"']+\.[^\s@<>"']+/g, '***')
    .replaceAll('\0', '')
    .slice(0, LONGEST)
    .toWellFormed();
}
