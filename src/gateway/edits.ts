/**
 * The few edits a JSON body needs before it goes upstream, as splices of its bytes: the provider's name of the model, a
 * lowered output limit, the wish for usage at the end of a stream, in whichever form that provider takes them, and whose it is.
 */
import { type Edit, scanObject, splice } from '../lib/json-scan.ts';
import type { MeteredRequest, RequestReader, Span } from '../metering/requests/types.ts';
import type { Provider } from '../upstream/types.ts';
import type { SetField } from './tenancy.ts';

export interface Target {
  /** The provider's own name of the model. */
  model: string;
  /** The output limit of one answer, where it was lowered. */
  clampedTo: number | null;
  provider: Pick<Provider, 'outputLimitField' | 'tellsUsageUnasked'>;
  /** Of tenancy.ts: none of the fields that are edited here. */
  fields?: readonly SetField[];
}

/** The body as it goes upstream. */
export function editedBody(body: Buffer, request: MeteredRequest, reader: RequestReader, target: Target): Buffer {
  const { spans, end } = request;
  const edits: Edit[] = [];
  const added: string[] = [];
  const set = (field: string, json: string): void => {
    const span = spans.get(field);
    if (span === undefined) added.push(`"${field}":${json}`);
    else edits.push({ ...span, replacement: json });
  };
  if (target.model !== request.model || !request.namesModel) set('model', JSON.stringify(target.model));
  if (target.clampedTo !== null) {
    for (const field of limitFields(request, reader, target)) set(field, String(target.clampedTo));
  }
  if (reader.asksForUsage) {
    const span = spans.get('stream_options');
    if (target.provider.tellsUsageUnasked) {
      if (span !== undefined) edits.push(withoutStreamOptions(body));
    } else if (request.stream && !request.includeUsage) {
      set('stream_options', withUsage(body, span));
    }
  }
  for (const [field, json] of target.fields ?? []) set(field, json);
  if (added.length > 0) {
    if (end === null) throw new Error('a body that no member can be added to needs one');
    edits.push({ start: end, end, replacement: `${spans.size > 0 ? ',' : ''}${added.join(',')}` });
  }
  return splice(body, edits);
}

/** Both fields bound the output where both are given; where neither is, the one that this provider takes is added. */
function limitFields({ spans }: MeteredRequest, reader: RequestReader, { provider }: Target): readonly string[] {
  const given = reader.limitFields.filter((field) => spans.has(field));
  if (given.length > 0) return given;
  return reader.limitFields.includes(provider.outputLimitField)
    ? [provider.outputLimitField]
    : reader.limitFields.slice(0, 1);
}

/** The client's stream options with include_usage set; they are small, so they are written anew. */
function withUsage(body: Buffer, span: Span | undefined): string {
  if (span === undefined) return '{"include_usage":true}';
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
