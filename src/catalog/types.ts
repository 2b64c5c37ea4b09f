/** The catalog as the gateway uses it: models that can be served, and the plans that allow them. */
import type { OnOrphan } from '../ledger/outcomes.ts';
import type { Price } from './price.ts';

export interface Route {
  provider: string;
  /** The provider's own name of the model. */
  model: string;
}

/** Whose price stands for the model's own: a version of a plan, or of the account's own price for the model. */
export type PriceSource = { kind: 'plan'; plan: string; version: number } | { kind: 'account'; version: number };

/** What stands for a model's own price: another, or a multiple of it, scaled by 10⁶. See override.ts. */
export type Override = { source: PriceSource; price: Price } | { source: PriceSource; multiple: bigint };

export interface Model {
  name: string;
  /** In order of preference; never empty. */
  routes: readonly Route[];
  /** Tokens of one choice. */
  maxOutputTokens: number;
  /** Whether the catalog states it; else it is our guess, which the provider has to be told. */
  statesMaxOutput: boolean;
  /** Tokens of input and output together; `null`: not known. */
  contextWindow: number | null;
  onDisconnect: 'abort' | 'drain';
  onUpstreamTimeout: 'estimate' | 'free';
  whenShort: 'clamp' | 'refuse';
  onOrphan: OnOrphan;
  /** Whether it generates what it bills and does not show: its own price has one for reasoning. */
  reasons: boolean;
  price: Price;
  /** `null`: the price is the model's own. */
  priceSource: PriceSource | null;
  /** What the provider bills us; `null`: not known. */
  cost: Price | null;
  /** The version of the model's entry: its cost, and its price unless `priceSource` has another. */
  priceVersion: number;
  /** The model whose price stands for pictures in this one's, where a tool that draws was asked for; and its version. */
  painter?: { model: string; priceVersion: number };
}

/** Credits that a plan includes. */
export interface Included {
  /** Nano-credits, for each unit of the account's quantity; of a subscription, of its item's. */
  credits: bigint;
  every: 'month' | 'period' | 'once';
  rollover: 'none' | 'all';
  /** Nano-credits for each unit while a subscription is on trial, ending with that. */
  trial: bigint;
}

export interface Plan {
  name: string;
  version: number;
  /** Whether those who are not on it may hear of it. */
  isPublic: boolean;
  /** Globs. */
  models: readonly string[];
  allowsModel(name: string): boolean;
  features: ReadonlySet<string>;
  /** By name: rpm, tpm, concurrency, max_output_tokens and the app's own; `rpm@<glob>` binds the use of those models. */
  limits: ReadonlyMap<string, number>;
  included: Included | null;
  /** Prices of Stripe that buy it; empty: it is not sold through Stripe. */
  stripePrices: readonly string[];
  /** How many days it is kept while a renewal is not paid. */
  graceDays: number;
  /** What it asks for a model instead of the model's own price; `null`: nothing else. */
  overrideOf(model: string): Override | null;
}

/** Credits that are sold at once. */
export interface Pack {
  name: string;
  version: number;
  /** Whether it is listed and sold. */
  isPublic: boolean;
  /** By currency, as decimals; `null`: Stripe knows it. */
  price: Readonly<Record<string, string>> | null;
  /** The same in minor units of each currency, the one that is asked for unless another is named first. */
  amounts: ReadonlyMap<string, bigint>;
  /** Payments for it are known by this price too, where Tollgate did not begin them. */
  stripePrice: string | null;
  /** Nano-credits. */
  credits: bigint;
  bonusCredits: bigint;
  /** `null`: never. */
  expiresDays: number | null;
}

/** What the host application charges for by a name and a number. */
export interface Operation {
  name: string;
  version: number;
  /** Nano-credits, each. */
  credits: bigint;
  /** The feature that an account must be entitled to; `null`: none. */
  feature: string | null;
}

/** A route that the catalog declares: its requests are passed on unread. */
export interface Passthrough {
  /** Its method and its template. */
  name: string;
  method: string;
  /** The template: `/v1/custom/{id}`. */
  path: string;
  /** The feature that an account must be entitled to; `null`: none. */
  feature: string | null;
  /** Its provider and its price, as the steps of a request take them: a model of its name, which no request can ask for. */
  model: Model;
}

/** What a price of Stripe buys. */
export type Sold = { kind: 'plan'; plan: Plan } | { kind: 'pack'; pack: Pack };

export interface Catalog {
  /** Rises with every change: what a hold is checked against. */
  version: bigint;
  /** By name, in its order. */
  models: ReadonlyMap<string, Model>;
  operations: ReadonlyMap<string, Operation>;
  plans: ReadonlyMap<string, Plan>;
  packs: ReadonlyMap<string, Pack>;
  /** By name. */
  passthrough: ReadonlyMap<string, Passthrough>;
  /** The declared route that takes a method and a path as they are written; `null`: none does. */
  passthroughAt(method: string, path: string): Passthrough | null;
  /** What a price of Stripe buys, by its id. */
  sold: ReadonlyMap<string, Sold>;
  /** Of accounts that have no plan of their own; `null`: those may use nothing. */
  defaultPlan: Plan | null;
  /** Entries that are left out, as "model gpt-x", and why: for the log. */
  leftOut: ReadonlyMap<string, string>;
}
