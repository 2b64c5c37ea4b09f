import { defineConfig } from 'vitest/config';

/** The tests of `npm run check`: they read the sources and need no Postgres. `npm test` runs them too. */
export default defineConfig({
  test: { include: ['test/tidy/**/*.test.ts'], reporters: ['dot'] },
});
