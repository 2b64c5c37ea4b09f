import { defineConfig } from 'vitest/config';
import { compileCache } from './test/support/compile-cache.ts';
import { SlowestFirst } from './test/support/slowest-first.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // On two cores: a quarter of the time some file waits for a lease, an instant or a process to start.
    maxWorkers: 3,
    env: compileCache,
    sequence: { sequencer: SlowestFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
