/**
 * Which files of tests begin first. Vitest goes by what they took the last time, and where it does not know, as after a fresh
 * clone, by their size; but what takes longest are small files that wait for leases, outages and processes, and one of those that
 * begins last has the machine for itself for half a minute.
 */
import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files, or folders, the slowest first. */
const SLOWEST: readonly string[] = [
  'test/ledger/model.property.test.ts',
  'test/faults/leases.test.ts',
  'test/faults/journal.test.ts',
  'test/cli/cli.test.ts',
  'test/ledger/overspend.test.ts',
  'test/faults/',
  'test/db/embedded',
];

export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const ranks = new Map(files.map((file) => [file, this.#rankOf(file)]));
    return (await super.sort(files)).sort((a, b) => ranks.get(a)! - ranks.get(b)!);
  }

  #rankOf({ moduleId }: TestSpecification): number {
    const path = relative(this.ctx.config.root, moduleId);
    const rank = SLOWEST.findIndex((slow) => path.startsWith(slow));
    return rank === -1 ? SLOWEST.length : rank;
  }
}
