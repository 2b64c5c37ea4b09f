/**
 * The few edits a request body needs before it goes upstream, as splices of its bytes: the provider's name of the model, a
 * lowered output limit, and the wish for usage at the end of a stream, in whichever form that provider takes them.
 */
import { type Edit, scanObject, splice } from '../lib/json-scan.ts';
import type { ChatRequest, Span } from '../metering/chat-request.ts';
import type { Provider } from '../upstream/types.ts';

/** The body as it goes upstream. `clampedTo`: the output limit of one choice, where it was lowered. */
export function editedBody(
  body: Buffer,
  request: ChatRequest,
  upstreamModel: string,
  clampedTo: number | null,
  provider: Pick<Provider, 'outputLimitField' | 'tellsUsageUnasked'>,
): Buffer {
  const { spans } = request;
  const edits: Edit[] = [];
  const added: string[] = [];
  if (upstreamModel !== request.model) edits.push({ ...spans.model, replacement: JSON.stringify(upstreamModel) });
  if (clampedTo !== null) {
    // Both fields bound the output where both are given; where neither is, the one that this provider takes is added.
    const given = [spans.maxTokens, spans.maxCompletionTokens].filter((span) => span !== null);
    for (const span of given) edits.push({ ...span, replacement: String(clampedTo) });
    if (given.length === 0) added.push(`"${provider.outputLimitField}":${clampedTo}`);
  }
  if (provider.tellsUsageUnasked) {
    if (spans.streamOptions !== null) edits.push(withoutStreamOptions(body));
  } else if (request.stream && !request.includeUsage) {
    if (spans.streamOptions === null) added.push('"stream_options":{"include_usage":true}');
    else edits.push({ ...spans.streamOptions, replacement: withUsage(body, spans.streamOptions) });
  }
  if (added.length > 0) edits.push({ start: spans.end, end: spans.end, replacement: `,${added.join(',')}` });
  return splice(body, edits);
}

/** The client's stream options with include_usage set; they are small, so they are written anew. */
function withUsage(body: Buffer, span: Span): string {
  const options = JSON.parse(body.toString('utf8', span.start, span.end)) as object | null;
  return JSON.stringify({ ...options, include_usage: true });
}

/** Takes the options out, together with the comma before them, or after them where they stand first. */
function withoutStreamOptions(body: Buffer): Edit {
  const { members } = scanObject(body);
  const at = members.findIndex(({ key }) => key === 'stream_options');
  const { keyStart, valueEnd } = members[at]!;
  // There is a second: a body has its model and messages.
  if (at === 0) return { start: keyStart, end: members[1]!.keyStart, replacement: '' };
  return { start: members[at - 1]!.valueEnd, end: valueEnd, replacement: '' };
}
