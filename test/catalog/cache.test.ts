import { expect, test } from 'vitest';
import { buildCatalog } from '../../src/catalog/build.ts';
import { CatalogCache } from '../../src/catalog/cache.ts';
import type { Catalog } from '../../src/catalog/types.ts';

const catalog = (version: bigint): Catalog => buildCatalog(version, [], { providers: new Set(), markup: 1n });

/** A cache at version 0 whose reads end when they are told to. */
function rig() {
  const reads: PromiseWithResolvers<Catalog>[] = [];
  const cache = new CatalogCache(catalog(0n), () => {
    const read = Promise.withResolvers<Catalog>();
    reads.push(read);
    return read.promise;
  });
  return { cache, reads };
}

test('a refresh waits for a read that began after it, and those who wait share one', async () => {
  const { cache, reads } = rig();
  const first = cache.refresh();
  const later = [cache.refresh(), cache.refresh()];
  expect(reads).toHaveLength(1);
  reads[0]!.resolve(catalog(1n));
  await first;
  later.push(cache.refresh());
  await Promise.resolve();
  expect(cache.current.version).toBe(1n);
  await expect.poll(() => reads.length).toBe(2);
  reads[1]!.resolve(catalog(2n));
  await Promise.all(later);
  expect(cache.current.version).toBe(2n);
  expect(reads).toHaveLength(2);
});

test('a read that fails is told to its callers, changes nothing, and stands in nobody’s way', async () => {
  const { cache, reads } = rig();
  const failing = cache.refresh();
  const next = cache.refresh();
  reads[0]!.reject(new Error('away'));
  await expect(failing).rejects.toThrow('away');
  expect(cache.current.version).toBe(0n);
  await expect.poll(() => reads.length).toBe(2);
  reads[1]!.resolve(catalog(1n));
  await next;
  expect(cache.current.version).toBe(1n);
});
