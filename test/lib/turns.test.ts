/** Turns at something scarce: so many at a time, in order, and bounded. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Turns } from '../../src/lib/turns.ts';

it('so many run at a time, the others in the order in which they asked, and those that fail hand their turn on', async () => {
  const turns = new Turns(2, 10);
  const began: number[] = [];
  const ends: (() => void)[] = [];
  const work = (n: number) => () =>
    new Promise<number>((resolve, reject) => {
      began.push(n);
      ends.push(() => (n === 1 ? reject(new Error('no')) : resolve(n)));
    });
  const answers = Promise.allSettled([0, 1, 2, 3].map((n) => turns.run(work(n))));
  await nextTurn();
  expect(began).toEqual([0, 1]);
  ends[1]!();
  await nextTurn();
  expect(began).toEqual([0, 1, 2]);
  ends[0]!();
  await nextTurn();
  ends[2]!();
  ends[3]!();
  expect((await answers).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  expect(await turns.run(async () => 'free again')).toBe('free again');
});

it('whoever would have to wait behind too many is refused, and nothing of its work begins', async () => {
  const turns = new Turns(1, 1);
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = turns.run(() => promise);
  const second = turns.run(async () => 'second');
  expect(await turns.run(async () => expect.fail('it began'))).toBeNull();
  resolve('first');
  expect(await Promise.all([first, second])).toEqual(['first', 'second']);
});
