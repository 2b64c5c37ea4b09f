import { expect, test } from 'vitest';
import { loadSettings } from '../../src/catalog/file.ts';
import { environment, faultsOf } from './support.ts';

test('the faults of both files and the environment are reported together', () => {
  const env = environment('server: { port: none }', { LOG_LEVEL: 'loud' }, 'modles: {}');
  expect(Object.keys(faultsOf(() => loadSettings(env)))).toEqual([
    'environment.LOG_LEVEL',
    'tollgate.yaml.server.port',
    'catalog.yaml.modles',
  ]);
});

test('the files in the repository are without fault, and the demo model is on the default plan', () => {
  const { config, entries } = loadSettings({});
  expect(config.providers.map(({ name }) => name)).toContain('demo');
  expect(entries).toContainEqual(
    expect.objectContaining({
      kind: 'plan',
      name: 'free',
      body: expect.objectContaining({ default: true, models: ['demo/*'] }),
    }),
  );
  expect(entries).toContainEqual(expect.objectContaining({ kind: 'model', name: 'demo/chat' }));
});
