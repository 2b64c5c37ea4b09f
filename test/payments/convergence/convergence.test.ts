/**
 * However a payment is heard of, it comes to the same. Here each single hearing at each stage, and all at once in a random order;
 * `npm run soak:stripe` walks all words of up to six hearings and random longer ones. STRIPE_SEED=… replays; STRIPE_LONGEST=…
 * STRIPE_RANDOM=… say how many, STRIPE_SHARING=0 walks also what comes to a point where another word was.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPayRig, type PayRig } from '../sync/rig.ts';
import { hearAtOnce, live, walk } from './explore.ts';
import { begin, LIVES } from './lives.ts';

const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const SEED = number('STRIPE_SEED', Date.now() % 2 ** 31);
const LONGEST = number('STRIPE_LONGEST', 1);
const RANDOM_WORDS = number('STRIPE_RANDOM', 0);
const sharing = process.env.STRIPE_SHARING !== '0';
/** Left out of short words: nothing in them is new there; of the two lives of subscriptions, which are long, the seed takes one. */
const LONG = new Set([
  'refused',
  'two',
  SEED % 3 === 0 ? 'dispute' : 'refund',
  SEED % 2 === 0 ? 'subscription' : 'proration',
]);
const AN_HOUR = 3_600_000;

let rig: PayRig;
beforeAll(async () => {
  console.log(`convergence: STRIPE_SEED=${SEED} STRIPE_LONGEST=${LONGEST} STRIPE_RANDOM=${RANDOM_WORDS}`);
  rig = await createPayRig(SEED);
});
afterAll(() => rig.close());

it.each(Object.keys(LIVES).filter((name) => LONGEST > 1 || !LONG.has(name)))(
  '%s: however it is heard of, it comes to the canonical state, and never to unpaid credits',
  async (name) => {
    const random = randomOf(SEED);
    const life = await live(rig, await begin(rig, name));
    const all = await walk(rig, life, { longest: LONGEST, sharing });
    expect(all.words > BigInt(LONGEST)).toBe(true);
    console.log(`convergence: ${name}: ${all.words} words by ${all.steps} steps`);
    for (let i = 0; i < RANDOM_WORDS; i++)
      await walk(rig, life, { longest: LONGEST + 5 + (i % 10), sharing: false, random });
    await hearAtOnce(rig, life, random);
  },
  AN_HOUR,
);

/** Numbers in [0, 1) of a seed: mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
