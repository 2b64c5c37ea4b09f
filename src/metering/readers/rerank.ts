/** Rerankings: by search units (Cohere), or by the tokens that were read (Voyage, OpenRouter and others). */
import type { Usage } from '../../catalog/units.ts';
import { dialect, PLAIN } from './answers.ts';
import { readAnyUsage } from './chat-usage.ts';
import { normaliseBilled, readBilled } from './cohere.ts';
import { copyCounts, names } from './counts.ts';
import type { Dialect, Reported } from './types.ts';

const UNITS = names({ search_units: 'search_units' });

export const rerank: Dialect = dialect({
  ...PLAIN,
  read: ({ meta, usage }) => readBilled(meta) ?? read(usage),
  normalise: normaliseRerank,
});

function read(usage: unknown): Reported | null {
  const reported = readAnyUsage(usage);
  if (reported !== null) copyCounts(usage as Record<string, unknown>, UNITS, reported);
  return reported;
}

/** There is no output: a total above the input is more input. */
function normaliseRerank(reported: Reported): Usage {
  const { total_tokens = 0, output_tokens = 0, billed_output_tokens = 0, ...rest } = reported;
  const { input = 0, ...others } = normaliseBilled(rest);
  return {
    ...others,
    input: Math.max(input + Math.ceil(billed_output_tokens || output_tokens), Math.ceil(total_tokens)),
  };
}
