import { defineConfig } from 'vitest/config';
import { compileCache } from './test/support/compile-cache.ts';
import { SlowestFirst } from './test/support/slowest-first.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/after-each-file.ts'],
    pool: 'forks',
    // Files that run one after the other in one process share the modules they have read, which spares each of them a second of a
    // core. Vitest takes back their spies and mocks.
    isolate: false,
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
