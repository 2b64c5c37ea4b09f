/** What a provider says, without what names our account there. */

/** A provider's account must not show: keys, organisations and projects are blotted out of what it says. */
const ACCOUNT_MARKS = /\b(?:sk-[\w-]{6,}|(?:org|proj|user)[-_][A-Za-z0-9]{6,})/g;

/** The provider's own words to a client whose request was wrong, without what names our account. */
export function redactedBody(body: Buffer): Buffer {
  const text = body.toString('utf8');
  const clean = text.replace(ACCOUNT_MARKS, '***');
  return clean === text ? body : Buffer.from(clean);
}

/** What may be logged of why an attempt failed: a parser's error carries bytes of the answer in its other fields. */
export function loggableCause(cause: unknown): { name: string; code: unknown; message: string } | undefined {
  if (!(cause instanceof Error)) return undefined;
  return { name: cause.name, code: (cause as NodeJS.ErrnoException).code, message: cause.message };
}
