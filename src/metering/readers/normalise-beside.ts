/** What usage means for the bill where cached and written tokens stand beside the input, not inside it. */
import type { Unit, Usage } from '../../catalog/units.ts';
import { Whole } from './counts.ts';
import type { CountName, Reported } from './types.ts';

/**
 * The billable dimensions: disjoint, whole, never negative. Nothing is taken out of the input; reasoning is a part of the
 * output. What is written for an hour is a part of all that is written. A total above all counts hides output, that is
 * billed. `iterations` are not looked at: the reader tells of them beside the usage.
 */
export function normaliseBeside(reported: Reported): Usage {
  const of = (name: CountName): number => Math.ceil(reported[name] ?? 0);
  const [input, cached] = [of('input_tokens'), of('cached_read_tokens')];
  const split = of('cache_write_5m_tokens') + of('cache_write_1h_tokens');
  const written = reported.cache_write_tokens === undefined ? split : of('cache_write_tokens');
  const keptLong = Math.min(of('cache_write_1h_tokens'), written);
  const unexplained = Math.max(0, of('total_tokens') - input - cached - written - of('output_tokens'));
  const output = new Whole(of('output_tokens') + unexplained);
  const parts: Usage = {
    cached_input: cached,
    cache_write: written - keptLong,
    cache_write_1h: keptLong,
    reasoning: output.take(of('reasoning_tokens')),
    'tool:web_search': of('web_search_requests'),
    'tool:web_fetch': of('web_fetch_requests'),
  };
  const usage: Usage = { input, output: output.rest };
  for (const unit in parts) if (parts[unit as Unit]! > 0) usage[unit as Unit] = parts[unit as Unit]!;
  return usage;
}
