/**
 * No step of a talk reads more than is held for: a provider here keeps answers, counts a token for each byte of a step at most, reads
 * again what a step names, with its thoughts or without, and introduces each item in its own way.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { contextOf, namedContext, readsCounted } from '../../src/gateway/owned/follow-up.ts';
import type { OwnedId } from '../../src/gateway/owned/ids.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { inputBound } from '../../src/metering/bounds.ts';
import { readResponsesRequest } from '../../src/metering/requests/responses.ts';

/** More than any provider was seen to take. */
const MOST_INTRODUCTION = 24;
const MODEL = { routes: [{ provider: 'p', model: 'm' }], maxOutputTokens: 1_000_000, contextWindow: null };

const someStep = fc.record({
  text: fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
  /** Which answer it follows, and whose items it brings, counted back from the last; beyond the first: none. */
  follows: fc.nat(4),
  brings: fc.uniqueArray(fc.nat(3), { maxLength: 3 }),
  /** Of its bytes, those that are tokens. */
  density: fc.double({ min: 0, max: 1, noNaN: true }),
  output: fc.nat(3_000),
  thinks: fc.double({ min: 0, max: 1, noNaN: true }),
  keepsThoughts: fc.boolean(),
  introduction: fc.nat(MOST_INTRODUCTION),
  calls: fc.nat(3),
});

interface Answer {
  /** The ids of the response and of its items. */
  made: string[];
  input: number;
  output: number;
  reasoning: number;
}

it('no step of a talk reads more than is held for', () => {
  let known = 0;
  const property = fc.property(fc.array(someStep, { minLength: 2, maxLength: 8 }), (steps) => {
    const answers: Answer[] = [];
    const rows = new Map<string, OwnedId>();
    for (const [number, step] of steps.entries()) {
      const previous = answers.at(-1 - step.follows);
      const brought = step.brings.map((back) => answers.at(-1 - back)).filter((one) => one !== undefined);
      const items = brought.flatMap(({ made }) => made.slice(1));
      const body = {
        ...{ model: 'm', max_output_tokens: 3_000 },
        ...(previous === undefined ? {} : { previous_response_id: previous.made[0] }),
        input: [...items.map((id) => ({ type: 'item_reference', id })), { role: 'user', content: step.text }],
      };
      const request = readResponsesRequest(Buffer.from(JSON.stringify(body)));
      request.named = namedContext(request.storedIds ?? [], rows, ['m'], false);
      expect(request.named.most).not.toBeNull();
      const reread = ({ output, reasoning, made }: Answer): number =>
        output - (step.keepsThoughts ? 0 : reasoning) + step.introduction * made.length;
      const input =
        1 +
        Math.floor((request.bytes - 1) * step.density) +
        (previous === undefined ? 0 : previous.input + reread(previous)) +
        brought.reduce((sum, one) => sum + reread(one), 0);
      expect(input).toBeLessThanOrEqual(inputBound(request, MODEL));
      if (inputBound(request, MODEL) < 100_000) known++;
      const reasoning = Math.floor(step.output * step.thinks);
      const made = [`resp_${number}`, ...Array.from({ length: step.calls + 1 }, (_, i) => `item_${number}_${i}`)];
      answers.push({ made, input, output: step.output, reasoning });
      const usage = { input, output: step.output - reasoning, reasoning };
      const context = contextOf({ made, model: 'm', isCounted: readsCounted(request) }, { usage, source: 'provider' });
      const row = { provider: 'p', account: 1n, request: `request-${number}` as Uuid, context };
      for (const id of made) rows.set(id, { id, ...row });
    }
  });
  const seed = Date.now() % 2 ** 31;
  console.log(`follow-ups.property: seed ${seed}`);
  fc.assert(property, { seed, numRuns: 500 });
  expect(known).toBeGreaterThan(500);
});
