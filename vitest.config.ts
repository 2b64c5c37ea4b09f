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
    // Several times what the slowest takes: a busy machine is no fault.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    reporters: ['default'],
  },
});
