/** Settings files in a folder that is deleted when the test ends. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { ConfigError, type Fault } from '../../src/lib/settings.ts';

/** The environment of a process whose settings file holds `settings`, and whose catalog holds `catalog`. */
export function environment(settings: string, more: Record<string, string> = {}, catalog = ''): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'tollgate.yaml'), settings);
  writeFileSync(join(folder, 'catalog.yaml'), catalog);
  return { TOLLGATE_CONFIG: join(folder, 'tollgate.yaml'), TOLLGATE_CATALOG: join(folder, 'catalog.yaml'), ...more };
}

/** The faults that `read` throws, by path; none when it throws nothing. */
export function faultsOf(read: () => unknown): Record<string, string> {
  try {
    read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return Object.fromEntries(error.faults.map(({ path, message }: Fault) => [path, message]));
  }
  return {};
}
