/** Files of tests share a process: a clock that one of them has stopped goes on for the next. (Spies and mocks Vitest takes back.) */
import { afterAll, vi } from 'vitest';

afterAll(() => {
  vi.useRealTimers();
});
