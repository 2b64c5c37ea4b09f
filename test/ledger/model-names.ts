/** Names that a host application uses, each once. */
import type { NamedOperation } from '../../src/ledger/named-operations.ts';
import type { Outcome } from '../../src/ledger/outcomes.ts';
import type { Answer } from './model-holds.ts';

export class ModelNames {
  /** What each name of a verb was used with, and what it came to. */
  readonly used = new Map<string, { fields: string; amount: bigint }>();

  /** `first`: what comes of a name that is new. What is refused leaves it free. */
  answer(operation: NamedOperation, first: () => Outcome): Answer {
    const name = `${operation.verb} ${operation.name}`;
    const fields = JSON.stringify(operation.fields);
    const before = this.used.get(name);
    if (before !== undefined) {
      return [before.fields === fields ? 'repeated' : 'exists_with_different_fields', before.amount];
    }
    const outcome = first();
    if (outcome !== 'done') return [outcome, 0n];
    this.used.set(name, { fields, amount: operation.amount });
    return ['done', operation.amount];
  }
}
