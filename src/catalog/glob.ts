/** Names with `*`, which stands for any text; all else stands for itself. Pure, and linear in the length of what is matched. */

/** Whether a name matches one of the globs. */
export function matcher(globs: readonly string[]): (name: string) => boolean {
  const names = new Set(globs.filter((glob) => !glob.includes('*')));
  const patterns = globs.filter((glob) => glob.includes('*')).map((glob) => glob.split('*'));
  return (name) => names.has(name) || patterns.some((parts) => matches(parts, name));
}

/** `parts`: what stands between the stars. Each is found as early as it can be, which leaves the most to those after it. */
function matches(parts: readonly string[], name: string): boolean {
  const [first, last] = [parts[0]!, parts.at(-1)!];
  const end = name.length - last.length;
  if (end < first.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** How much a glob says: of several that match, the one that says most. A name itself says more than any glob. */
export function specificity(glob: string): number {
  return glob.includes('*') ? glob.replaceAll('*', '').length : Infinity;
}
