/** What an account may do, as decided: each decision names what made it. */
import type { Model } from '../catalog/types.ts';

/** What made a decision: a statement, a plan's template, the key's own terms, or nothing at all. */
export interface DecidedBy {
  kind: 'block' | 'override' | 'grant' | 'subscription' | 'plan' | 'key' | 'default';
  /** `ent_…`, `key_…`, or the name of the default plan; `null`: nothing speaks of it. */
  id: string | null;
  /** The reason that was given with the statement. */
  reason: string | null;
}

export interface Decision<T = unknown> {
  allowed: boolean;
  /** A sentence that a support person can read out. */
  reason: string;
  source: DecidedBy;
  value: T;
  /** When time alone may change it; `null`: never. */
  validUntil: Date | null;
}

/** On a model: where it is allowed, at the price that the account pays. */
export type ModelDecision =
  | (Decision<true> & { allowed: true; model: Model })
  | (Decision<false> & { allowed: false; code: 'model_not_found' | 'model_not_entitled'; publicPlan: string | null });

/** What a principal may do, by one catalog. */
export interface Access {
  model(name: string): ModelDecision;
  feature(name: string): Decision<boolean>;
  /** The number of a limit, for the use of `model` where one is named: the least of the limit itself and those of `name@<glob>`. `value` null: nobody set one. */
  limit(name: string, model?: string): Decision<number | null>;
  config(name: string): Decision;
  /** The models that the key may use, by name. */
  models(): Model[];
}
