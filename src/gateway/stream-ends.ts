/** How a stream ends that no provider has ended: with an error, or because its credits ran out. */
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import type { TollgateError } from '../errors.ts';
import { frameObject } from '../metering/readers/frames.ts';
import type { StreamReader } from '../metering/readers/types.ts';

export interface StreamEnds {
  /** The frames that tell a client its stream broke: official clients turn them into an exception. `reader` has read it so far. */
  error(error: TollgateError, reader: StreamReader | null): string;
  /**
   * The last frames of a stream whose credits ran out, as a provider ends one that has reached its output limit: with the usage
   * where the client asked for it (else `null`). `like` is a frame of the stream, whose id, model and time they bear. Absent: such
   * a stream cannot be ended well, so that all of it is held for.
   */
  exhausted?(like: Buffer, usage: Usage | null, reader: StreamReader | null): string;
}

/** What all chunks of a stream have in common. */
const HEAD = ['id', 'object', 'created', 'model', 'system_fingerprint'];

export const chatEnds: StreamEnds = {
  error: (error) => `data: ${JSON.stringify(error.body())}\n\n`,
  exhausted: (like, usage) => lastChunks(like, usage, { index: 0, delta: {}, logprobs: null, finish_reason: 'length' }),
};

/** The older completions have their text in the choice itself. */
export const completionEnds: StreamEnds = {
  error: chatEnds.error,
  exhausted: (like, usage) => lastChunks(like, usage, { text: '', index: 0, logprobs: null, finish_reason: 'length' }),
};

/** Answers that cannot end sooner: pictures and speech, and those that are no streams. */
export const answerEnds: StreamEnds = { error: chatEnds.error };

function lastChunks(like: Buffer, usage: Usage | null, choice: object): string {
  const json = frameObject(like, 'sse') ?? {};
  const head: Record<string, unknown> = {};
  for (const field of HEAD) if (field in json) head[field] = json[field];
  const finish = { ...head, choices: [choice] };
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
  const { input, output } = tokensOf(usage);
  return { prompt_tokens: input, completion_tokens: output, total_tokens: input + output };
}

/** Tokens of both sides, of all kinds. */
export function tokensOf(usage: Usage): { input: number; output: number } {
  const sum = (isOn: (unit: Unit) => boolean): number =>
    (Object.keys(usage) as Unit[]).filter(isOn).reduce((tokens, unit) => tokens + usage[unit]!, 0);
  return { input: sum(isInput), output: sum(isOutput) };
}
