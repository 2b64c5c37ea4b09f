import { expect, it } from 'vitest';
import { Gathered } from '../../src/lib/gathered.ts';

it('whoever comes while a call runs shares the next one, which begins when that has ended, however it did', async () => {
  const gathered = new Gathered<number>();
  const calls: PromiseWithResolvers<number>[] = [];
  const call = () => {
    calls.push(Promise.withResolvers<number>());
    return calls.at(-1)!.promise;
  };
  const ask = (key = 'a') => gathered.run(key, call);
  const first = ask();
  const shared = [ask(), ask()];
  expect(calls).toHaveLength(1);
  const other = ask('b');
  expect(calls).toHaveLength(2);
  calls[0]!.reject(new Error('away'));
  await expect(first).rejects.toThrow('away');
  expect(calls).toHaveLength(3);
  const third = ask();
  calls[2]!.resolve(2);
  expect(await Promise.all(shared)).toEqual([2, 2]);
  calls[3]!.resolve(3);
  calls[1]!.resolve(9);
  expect([await third, await other]).toEqual([3, 9]);
  const last = ask();
  calls[4]!.resolve(4);
  expect(await last).toBe(4);
});
