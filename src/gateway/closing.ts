/** How a stream ends whose credits ran out: as a provider ends one that has reached its output limit. */
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import { frameObject } from '../metering/readers/frames.ts';

/** What all chunks of a stream have in common. */
const HEAD = ['id', 'object', 'created', 'model', 'system_fingerprint'];

/**
 * The last frames of a stream: why it ended, the usage where the client asked for it (else `null`), and `[DONE]`. `like` is
 * a frame of the stream, whose id, model and time they bear.
 */
export function closingFrames(like: Buffer, usage: Usage | null): string {
  const json = frameObject(like, 'sse') ?? {};
  const head: Record<string, unknown> = {};
  for (const field of HEAD) if (field in json) head[field] = json[field];
  const finish = { ...head, choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: 'length' }] };
  const chunks =
    usage === null
      ? [finish]
      : [
          { ...finish, usage: null },
          { ...head, choices: [], usage: totals(usage) },
        ];
  return `${chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join('')}data: [DONE]\n\n`;
}

function totals(usage: Usage): Record<string, number> {
  const sum = (isOn: (unit: Unit) => boolean): number =>
    (Object.keys(usage) as Unit[]).filter(isOn).reduce((tokens, unit) => tokens + usage[unit]!, 0);
  const [prompt, completion] = [sum(isInput), sum(isOutput)];
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
