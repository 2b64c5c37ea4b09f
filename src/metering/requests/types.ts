/**
 * A request as the gateway needs it: the few fields that bear on routing and cost, and where they stand in its bytes. Everything
 * else stays as it came. What could cost and cannot be metered is refused when it is read, with its `param`.
 */
import type { Price, Terms } from '../../catalog/price.ts';
import type { Model } from '../../catalog/types.ts';
import type { Usage } from '../../catalog/units.ts';
import type { Asks } from './asks.ts';
import type { MessageParts } from './message-parts.ts';

/** A range of the body. */
export interface Span {
  start: number;
  end: number;
}

/** An id that only the account may name whose answer had it. */
export interface StoredId {
  id: string;
  /** Where it stands: `input[0].id`. */
  param: string;
  /** What it names: a response, or a part of an answer. */
  kind: 'response' | 'item';
}

/** What a request reads that it names alone, in tokens. */
export interface NamedContext {
  /** `null`: nobody knows. */
  most: number | null;
  likely: number;
  /** Whether all that was read for what it names was counted. */
  isCounted: boolean;
}

export interface MeteredRequest {
  model: string;
  /** Whether it names its model itself: else this is what its endpoint takes instead. */
  namesModel: boolean;
  stream: boolean;
  /** Whether the client itself asked for the usage chunk. */
  includeUsage: boolean;
  /** Bytes that bound the tokens of its text: of a JSON body all of them. */
  bytes: number;
  /** How many times the context window may be read: once for each of several prompts. */
  reads: number;
  /** Answers that are billed, of all its prompts together, drafts included; 0: nothing is generated. */
  n: number;
  /** The client's own limit of one answer's output, in tokens: the larger where two fields say it. */
  outputLimit: number | null;
  /** The most output tokens of one answer where no limit of the client's and of the model says it, such as of a picture. */
  fixedOutput: number | null;
  /** It is of no use when it is cut: structured, or no text. */
  mustBeWhole: boolean;
  /** Parts of its prompt that are not text. */
  parts: MessageParts;
  /** Whether tools are described, whoever runs them. */
  hasTools: boolean;
  /** The units and the tier that the model must have a price for. */
  asks: Asks;
  /**
   * What it may use at most that is not counted in tokens, whether the model has a price for it or for tokens instead: seconds
   * heard, characters, pictures. `null`: nothing.
   */
  others: Usage | null;
  /** What it uses whatever becomes of it, since it brings that itself: seconds, characters, likely tokens of its sound. */
  certain: Usage | null;
  /**
   * Output may be billed that the answer does not show as text: sound, pictures, a draft's rejected tokens, what a model does
   * with the tools that the provider runs.
   */
  hidesOutput: boolean;
  /** The provider goes on after the request has ended, and its hold is settled then (gateway/background/). */
  background?: boolean;
  /** What it names that a provider has stored: its account must own that. Absent or empty: nothing. */
  storedIds?: readonly StoredId[] | undefined;
  /** What all of that is to the model, once it is found (gateway/owned/). Absent: it names nothing, or was not looked up yet. */
  named?: NamedContext;
  /** More may be read for it than its usage says: what tools of the provider find, what is cut off, summed up or made smaller. */
  readsUncounted?: boolean;
  /** It may read what the answers that it names were made without. */
  recalls?: boolean;
  /** What it asks for that bears on the price, where the answer does not say: the size and quality of pictures. */
  terms?: Terms;
  /** Output tokens of one answer, likely, where its bound is far above that. */
  likelyOutput?: number;
  /** Its output is sound. */
  speaks?: true;
  /** What stands where in the body, by the name of the field; each at most once. */
  spans: ReadonlyMap<string, Span>;
  /** Where a member can be added: before the closing brace. `null`: none can. */
  end: number | null;
}

/** A part of a form: multipart/form-data. */
export interface FormPart {
  /** As it was sent: of a list it may end in `[]`. */
  name: string;
  isFile: boolean;
  /** Of a field, its text; `null`: it is a file, or longer than any field that is read. */
  text: string | null;
  /** Where its value stands in the body. */
  span: Span;
}

/** A form that was read, in the order of its parts. */
export interface Form {
  parts: readonly FormPart[];
  /** Bytes of a range of its body; fewer where it ends before. */
  read(start: number, end: number): Promise<Buffer>;
}

/** What an answer is that reports no usage. */
export interface Unreported {
  /** Of its body, in all; of a stream they are not counted: 0. */
  bytes: number;
  contentType: string | null;
  /** What it shows of itself that was used, such as its pictures: to be added to what the request tells. */
  beside: Usage;
  /** How it ended: whole, cut by a client that left, or by its provider, or not at all. */
  ended: 'whole' | 'left' | 'broken';
}

/** How the requests of one endpoint are read. */
export interface RequestReader {
  /** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
  read(body: Buffer): MeteredRequest;
  /** The same of a form; `deployment`: a model that stands for its own. Absent: the endpoint takes none. */
  readForm?(form: Form, deployment: string | null): Promise<MeteredRequest>;
  /** Refuses what cannot be bounded at this price. Throws `invalid_request` with `param`. */
  refuseUnbounded?(price: Price, request: MeteredRequest): void;
  /** The field that holds the prompt: the `param` of what is too long. */
  readonly promptField: string;
  /** The fields that limit the output; where a request has none of them, the first is added. Empty: there are none. */
  readonly limitFields: readonly string[];
  /** Whether usage at the end of a stream comes only where it is asked for, with `stream_options`. */
  readonly asksForUsage: boolean;
  /** Whether a price says what all that such a request uses costs: what has no price is not served. */
  isPriced(price: Price, request: MeteredRequest): boolean;
  /** Whether its requests cost nothing, whatever the price of the model is: they are held for and settled at 0. */
  readonly isFree?: true;
  /**
   * What a request used whose answer reports nothing, by its own facts: `exact` where these are what is billed. Absent, or
   * `undefined`: its text is counted.
   */
  usedUnreported?(
    request: MeteredRequest,
    model: Model,
    answer: Unreported,
  ): { usage: Usage; exact: boolean } | undefined;
}
