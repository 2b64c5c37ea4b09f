/** Work that a process does beside its requests, again and again. Who has such work says what it is; `workers/` runs it. */
export interface Job {
  /** In logs and metrics: `stripe-inbox`. */
  readonly name: string;
  /** How long it rests when there was nothing to do, in milliseconds. */
  readonly everyMs: number;
  /**
   * Does what is due. True: there may be more, so it is run again at once. What it throws is logged, and it is tried again later
   * each time. The signal says that the process stops: what can wait is left for the next one.
   */
  run(signal: AbortSignal): Promise<boolean>;
  /** Once it is not run any more: gives up, or waits for, what its runs have left running. Of a job that leaves anything. */
  end?(): Promise<void>;
}

/** Runs a job now, where it rests: something came for it. One that fails rests on. */
export type Wake = (job: string) => void;
