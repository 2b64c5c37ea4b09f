/** A slice of a stream's hold: nothing is sent that is not held for, whatever is granted, refused or late. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIRST_SLICE_TOKENS, mostCovered, Slices } from '../../src/gateway/slices.ts';

const BOUND = 100_000;
/** Input that costs 100, and 2 an output token. */
const costOf = (output: number): bigint => 100n + 2n * BigInt(output);

interface Question {
  want: bigint;
  least: bigint;
  answer: (held: bigint | null) => Promise<void>;
}

/** Text of so many bytes that is a token to each so many: a, b, c … are 1, 2, 3 … */
const textOf = (bytes: number, each = 1): string => String.fromCharCode(96 + each).repeat(bytes);
const tokensOf = (text: string): number => (text === '' ? 0 : Math.ceil(text.length / (text.charCodeAt(0) - 96)));

/** Slices over a ledger that answers when the test does. `texts`: of frames by their names, to be counted. */
function rig(bound = BOUND, texts: Record<string, string> | null = null) {
  const questions: Question[] = [];
  /** While it is set, counts wait for it. */
  const counting: { paused: Promise<void> | null; begun: number } = { paused: null, begun: 0 };
  const passed: string[] = [];
  const spent: string[] = [];
  const slices = new Slices({
    held: costOf(FIRST_SLICE_TOKENS),
    bound,
    costOf,
    extend: (want, least) => {
      const { promise, resolve } = Promise.withResolvers<bigint | null>();
      const answer = async (held: bigint | null): Promise<void> => {
        resolve(held);
        await promise;
        await new Promise(setImmediate);
      };
      questions.push({ want, least, answer });
      return promise;
    },
    count: async (pieces) => {
      counting.begun++;
      await counting.paused;
      return texts === null ? null : pieces.reduce((sum, piece) => sum + tokensOf(piece), 0);
    },
  });
  slices.open({
    generated: () => (texts === null ? [] : passed.map((name) => texts[name]!).filter((text) => text !== '')),
    onMore: (frames) => passed.push(...frames.map(String)),
    onSpent: (unsent) => spent.push(String(unsent)),
  });
  const offer = (name: string, tokens: number): void => {
    if (slices.pass(Buffer.from(name), tokens)) passed.push(name);
  };
  return { slices, questions, counting, passed, spent, offer };
}

describe('a slice', () => {
  it('asks for the next, twice as large, when half of it is used, and sends on meanwhile', async () => {
    const { questions, passed, offer } = rig();
    offer('a', 400);
    expect(questions).toHaveLength(0);
    offer('b', 200);
    expect(questions).toMatchObject([{ want: costOf(2 * 1024) }]);
    offer('c', 200);
    expect(questions).toHaveLength(1);
    await questions[0]!.answer(questions[0]!.want);
    offer('d', 700);
    expect(questions).toMatchObject([{}, { want: costOf(2 * 1024 + 2 * 1024) }]);
    expect(passed).toEqual(['a', 'b', 'c', 'd']);
  });

  it('asks again, and waits, when it is used up after a refusal: what is granted then goes on', async () => {
    const { slices, questions, passed, spent, offer } = rig();
    offer('a', 600);
    await questions[0]!.answer(null);
    offer('b', 300);
    expect(questions).toHaveLength(1);
    offer('c', 300);
    expect([slices.blocked, passed]).toEqual([true, ['a', 'b']]);
    offer('d', 1);
    await questions[1]!.answer(questions[1]!.want);
    expect([slices.blocked, passed, spent]).toEqual([false, ['a', 'b', 'c', 'd'], []]);
  });

  it('ends when it is used up and no more is to be had', async () => {
    const { questions, passed, spent, offer } = rig();
    offer('a', 600);
    offer('b', 600);
    offer('c', 1);
    await questions[0]!.answer(null);
    expect([passed, spent]).toEqual([['a'], ['b']]);
  });

  it('takes a frame larger than any slice, where that much is granted', async () => {
    const { questions, passed, offer } = rig();
    offer('giant', 50_000);
    expect(questions[0]!.least).toBe(costOf(50_016));
    await questions[0]!.answer(questions[0]!.least);
    expect(passed).toEqual(['giant']);
  });

  it('holds the whole bound at most, however many bytes the output has', async () => {
    const { questions, passed, offer } = rig(2_000);
    offer('giant', 50_000);
    expect(questions).toMatchObject([{ want: costOf(2_000), least: costOf(2_000) }]);
    await questions[0]!.answer(costOf(2_000));
    offer('more', 1_000_000);
    expect([passed, questions.length]).toEqual([['giant', 'more'], 1]);
  });

  it('goes on where a count finds fewer tokens than bytes, and ends when it finds no fewer', async () => {
    const { questions, passed, spent, offer } = rig(BOUND, { a: textOf(800, 4), b: textOf(700, 4), c: textOf(600) });
    offer('a', 800);
    await questions[0]!.answer(null);
    offer('b', 700);
    await questions[1]!.answer(null);
    expect([passed, spent]).toEqual([['a', 'b'], []]);
    offer('c', 700);
    await questions[2]!.answer(null);
    // Both are counted now: 16 + 200 + 175, and the 700 of the next are too many.
    expect([passed, spent]).toEqual([['a', 'b'], []]);
    await questions[3]!.answer(null);
    expect([passed, spent, questions.length]).toEqual([['a', 'b'], ['c'], 4]);
  });

  it('neither asks nor counts again while it counts, whatever arrives', async () => {
    const { slices, questions, counting, passed, offer } = rig(BOUND, { a: textOf(800, 4), b: textOf(700), c: 'a' });
    const { promise, resolve } = Promise.withResolvers<void>();
    counting.paused = promise;
    offer('a', 800);
    await questions[0]!.answer(null);
    offer('b', 700);
    await questions[1]!.answer(null);
    offer('c', 1);
    await new Promise(setImmediate);
    expect([questions.length, counting.begun, slices.blocked]).toEqual([2, 1, true]);
    resolve();
    await new Promise(setImmediate);
    expect([passed, slices.blocked]).toEqual([['a', 'b', 'c'], false]);
    offer('d', 200);
    expect([passed, slices.blocked, questions.length]).toEqual([['a', 'b', 'c'], true, 3]);
  });

  it('goes on with another answer that was begun while it counted', async () => {
    const { slices, questions, counting, passed, spent, offer } = rig(BOUND, { a: textOf(800, 4), b: textOf(700) });
    const { promise, resolve } = Promise.withResolvers<void>();
    counting.paused = promise;
    offer('a', 800);
    await questions[0]!.answer(null);
    offer('b', 700);
    await questions[1]!.answer(null);
    slices.close();
    const more: string[] = [];
    slices.open({ generated: () => [], onMore: (frames) => more.push(...frames.map(String)), onSpent: () => {} });
    expect([slices.pass(Buffer.from('x'), 900), slices.pass(Buffer.from('y'), 900)]).toEqual([true, false]);
    resolve();
    await new Promise(setImmediate);
    await questions[2]!.answer(questions[2]!.want);
    expect([passed, spent, more]).toEqual([['a'], [], ['y']]);
  });

  it('wakes nobody with an answer that comes after the stream ended', async () => {
    const { slices, questions, passed, spent, offer } = rig();
    offer('a', 2_000);
    slices.close();
    await questions[0]!.answer(questions[0]!.want);
    const late = rig();
    late.offer('a', 2_000);
    late.slices.close();
    await late.questions[0]!.answer(null);
    expect([passed, spent, late.spent]).toEqual([[], [], []]);
  });
});

it('for any frames and answers: in order, none sent that is not held for, one question at a time, and an end', async () => {
  const frames = fc.array(fc.nat(3_000), { maxLength: 40 });
  const grants = fc.array(fc.option(fc.double({ min: 0, max: 1, noNaN: true })), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(frames, grants, async (sizes, answers) => {
      const { slices, questions, passed, spent, offer } = rig();
      let held = costOf(FIRST_SLICE_TOKENS);
      let open = 0;
      const check = (): void => {
        const sent = passed.reduce((sum, name) => sum + sizes[Number(name)]!, 0);
        expect(costOf(sent)).toBeLessThanOrEqual(held);
        expect(passed).toEqual(passed.map((_, i) => String(i)));
      };
      /** Answers all questions there are: a part of what lies between least and want, or no. */
      const answerAll = async (): Promise<void> => {
        while (open < questions.length && spent.length === 0) {
          expect(questions.length - open).toBe(1);
          const { want, least, answer } = questions[open++]!;
          expect(least > held && want >= least).toBe(true);
          const share = answers.shift() ?? null;
          if (share !== null) held = least + BigInt(Math.floor(Number(want - least) * share));
          await answer(share === null ? null : held);
          check();
        }
      };
      for (const [i, size] of sizes.entries()) {
        if (spent.length > 0) break;
        offer(String(i), size);
        check();
        if (i % 3 === 0) await answerAll();
      }
      await answerAll();
      // All is sent, or it was ended at the first frame that is not.
      expect(slices.blocked).toBe(spent.length > 0);
      expect(spent).toEqual(slices.blocked ? [String(passed.length)] : []);
    }),
    { numRuns: 300 },
  );
});

it('for any text and its tokens, shown or not: none is sent that is not held for by its tokens', async () => {
  const piece = fc.record({
    bytes: fc.nat(900),
    each: fc.integer({ min: 1, max: 5 }),
    hidden: fc.constantFrom(0, 0, 16),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 40 }),
      fc.array(fc.boolean(), { maxLength: 60 }),
      async (pieces, grants) => {
        const texts = Object.fromEntries(pieces.map(({ bytes, each }, i) => [i, textOf(bytes, each)]));
        const { slices, questions, passed, spent, offer } = rig(BOUND, texts);
        let held = costOf(FIRST_SLICE_TOKENS);
        let open = 0;
        for (const [i, { bytes, hidden }] of pieces.entries()) {
          if (spent.length > 0) break;
          offer(String(i), bytes + hidden);
          while (open < questions.length && spent.length === 0) {
            const { least, answer } = questions[open++]!;
            const granted = grants.shift() ?? false;
            if (granted) held = least;
            await answer(granted ? held : null);
          }
          const used = passed.reduce((sum, name) => sum + tokensOf(texts[name]!) + pieces[Number(name)]!.hidden, 0);
          expect(costOf(used)).toBeLessThanOrEqual(held);
          expect(passed).toEqual(passed.map((_, i) => String(i)));
        }
        expect(slices.blocked).toBe(spent.length > 0);
      },
    ),
    { numRuns: 300 },
  );
});

it('the largest count that an amount covers', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 500n), fc.nat(200), fc.nat(5), (amount, most, each) => {
      const cost = (count: number): bigint => 50n + BigInt(each * count);
      const covered = mostCovered(amount, most, cost);
      expect(covered === 0 || cost(covered) <= amount).toBe(true);
      expect(covered === most || cost(covered + 1) > amount).toBe(true);
    }),
  );
});
