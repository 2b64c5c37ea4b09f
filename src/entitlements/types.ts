/** What an account may do, as decided: each decision names what made it. */
import type { Source } from '../accounts/entitlements.ts';
import type { Model } from '../catalog/types.ts';

/** What made a decision: a statement, a plan's template, the key's own terms, the account's state, or nothing at all. */
export interface DecidedBy {
  kind: Source | 'key' | 'account' | 'default';
  /** `ent_…`, `key_…`, `acct_…`, or the name of the default plan; `null`: nothing speaks of it. */
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
  /** When what made it ends by time alone; `null`: never. */
  validUntil: Date | null;
}

/** On a model: where it is allowed, as this principal has it: at the price that it pays, with the output that it may ask for. */
export type ModelDecision =
  | (Decision<true> & { allowed: true; model: Model })
  | (Decision<false> & { allowed: false; code: 'model_not_found' | 'model_not_entitled' });

/** On a limit: `value` null: nobody set one. */
export type LimitDecision = Decision<number | null>;

/** What a principal may do, by one catalog. */
export interface Access {
  model(name: string): ModelDecision;
  feature(name: string): Decision<boolean>;
  /** A limit of the account; where a model is named, the least of that and of its `modelLimit`. */
  limit(name: string, model?: string): LimitDecision;
  /** The limit of the account's use of all models of one glob together, by which `model` is bound: `limit:<name>@<glob>`. */
  modelLimit(name: string, model: string): LimitDecision & { glob: string | null };
  config(name: string): Decision;
  /** The least of a limit of the account and of that of the key itself: what binds one request. `null`: nothing limits it. */
  binding(name: string, model?: string): number | null;
  /** The models that the key may use, by name. */
  models(): Model[];
  /** All that is spoken of, by its key: the models that may be used, the rules that deny some, features, limits, configurations. */
  spoken(): { key: string; decision: Decision }[];
}
