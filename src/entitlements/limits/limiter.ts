/**
 * What a limiter does: it takes all that a request needs of every subject that limits it, or nothing of any. Requests and tokens
 * count in a window of a minute that begins with a subject's first request; concurrency counts the requests that run.
 */

export const KINDS = ['requests', 'tokens', 'concurrency'] as const;
export type Kind = (typeof KINDS)[number];

export const WINDOW_MS = 60_000;
/** Nobody knows when a running request ends. */
const SLOT_RETRY_MS = 1_000;

/** Who is limited, and to how much; `null`: not in that. */
export interface Subject {
  /** Names it among all subjects. It begins with its account in braces: what Redis keeps of one account stays together. */
  key: string;
  /** Whose limit it is, as a part of a sentence: "this API key". */
  whose: string;
  limits: Readonly<Record<Kind, number | null>>;
}

/** What a request needs: itself, so many tokens by an estimate, and a slot while it runs. */
export interface Ask {
  /** Its id, by which its slots are told from others. */
  request: string;
  tokens: number;
  subjects: readonly Subject[];
}

/** What is in use of a subject's limits. */
export interface Level {
  requests: number;
  tokens: number;
  concurrency: number;
  /** Milliseconds until its window ends; 0: none runs. */
  resetMs: number;
}

/** What a request took. Both of these do nothing once either was called, and neither throws. */
export interface Taken {
  /** The request is over: frees its slots, and makes its tokens those that it used, unless their window is over. */
  end(tokens: number): void;
  /** Gives back all of it, as if it had never been asked for. */
  undo(): void;
}

/** `taken` null: something does not fit, and nothing was taken. The levels are what is in use after that, of each subject. */
export interface Answer {
  levels: readonly Level[];
  taken: Taken | null;
}

export interface Limiter {
  /** Takes all or nothing. Not a promise where the limits are this process's own. */
  take(ask: Ask): Answer | Promise<Answer>;
  /** What is in use; takes nothing. */
  levels(subjects: readonly Subject[]): readonly Level[] | Promise<readonly Level[]>;
}

/** A limit that something does not fit into. */
export interface Refusal {
  subject: Subject;
  kind: Kind;
  limit: number;
  used: number;
  asked: number;
  /** Milliseconds until it may fit; `null`: never, since it is more than the limit itself. */
  waitMs: number | null;
}

/** Whether an ask fits into all limits of its subjects. */
export function fits({ subjects, tokens }: Ask, levels: readonly Level[]): boolean {
  return subjects.every(({ limits }, i) => {
    const level = levels[i]!;
    return (
      (limits.requests === null || level.requests < limits.requests) &&
      (limits.tokens === null || level.tokens + tokens <= limits.tokens) &&
      (limits.concurrency === null || level.concurrency < limits.concurrency)
    );
  });
}

/** Of all limits that an ask does not fit into, the one that keeps it waiting longest; `null`: it fits. */
export function refusalOf({ subjects, tokens }: Ask, levels: readonly Level[]): Refusal | null {
  const asked = { requests: 1, tokens, concurrency: 1 };
  const refusals = subjects.flatMap((subject, i) =>
    KINDS.flatMap((kind): Refusal[] => {
      const limit = subject.limits[kind];
      const level = levels[i]!;
      if (limit === null || level[kind] + asked[kind] <= limit) return [];
      const waitMs = asked[kind] > limit ? null : kind === 'concurrency' ? SLOT_RETRY_MS : level.resetMs;
      return [{ subject, kind, limit, used: level[kind], asked: asked[kind], waitMs }];
    }),
  );
  const wait = ({ waitMs }: Refusal): number => waitMs ?? Infinity;
  return refusals.reduce<Refusal | null>((most, one) => (most === null || wait(one) > wait(most) ? one : most), null);
}

/** Whether a subject counts in windows at all. */
export function hasWindow({ limits }: Subject): boolean {
  return limits.requests !== null || limits.tokens !== null;
}
