/**
 * What the readers of typed events have in common: streams whose frames are JSON objects, each with a type. Every event is
 * parsed once, as it passes; what was generated is kept for counting, bounded (`GeneratedText`).
 *
 *   reading ──the dialect's last event──▶ finished        an error, at any time, is told to the relay as one
 */
import type { Terms } from '../../catalog/price.ts';
import type { Unit, Usage } from '../../catalog/units.ts';
import type { Json } from '../../lib/json.ts';
import { frameObject, isArrayEnd, isDone } from './frames.ts';
import { GeneratedText } from './generated.ts';
import type { FrameKind, Framing, Reported, StreamReader } from './types.ts';

export abstract class EventReader implements StreamReader {
  finished = false;
  protected reported: Reported | null = null;
  protected said: Terms = {};
  protected used: Usage = {};
  protected readonly text = new GeneratedText();
  readonly #framing: Framing;

  constructor(framing: Framing) {
    this.#framing = framing;
  }

  /** Looks at an event, and says what it is to the relay. */
  protected abstract see(event: Json): FrameKind;

  frame(frame: Buffer): FrameKind {
    const event = frameObject(frame, this.#framing);
    if (event !== null) return this.see(event);
    if (this.#framing === 'json-array' && isArrayEnd(frame)) return 'done';
    return this.#framing === 'sse' && isDone(frame) ? 'done' : 'content';
  }

  usage(): Reported | null {
    return this.reported;
  }

  terms(): Terms {
    return this.said;
  }

  beside(): Usage {
    return this.used;
  }

  outputEstimate(): number {
    return this.text.estimate();
  }

  generatedText(): string[] {
    return this.text.texts;
  }

  protected add(unit: Unit, quantity: number): void {
    this.used = { ...this.used, [unit]: (this.used[unit] ?? 0) + quantity };
  }
}

/** What is added up of several reports, each disjoint in itself. */
export function sumOf(usages: readonly Usage[]): Usage {
  const sum: Usage = {};
  for (const usage of usages) {
    for (const unit in usage) sum[unit as Unit] = (sum[unit as Unit] ?? 0) + usage[unit as Unit]!;
  }
  return sum;
}
