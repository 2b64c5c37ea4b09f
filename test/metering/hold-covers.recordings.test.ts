/**
 * How often, and by how much, what providers really charged would have exceeded what we would have held. Requests of chat are
 * read and bounded by the gateway's own code; those of dialects that are not served yet by the same rules, written here for
 * their shapes, and in tokens only. Priced by the public table, or by a stand-in where it lacks the model: the tier is the plain
 * one. Each excess is named with its reason. Recordings and table lie beside the project: without them this did not run.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readRow } from '../../src/catalog/import-row.ts';
import { type Price, readPrice, type WrittenPrice } from '../../src/catalog/price.ts';
import { type Bounds, boundCharge, charge, inputTokens } from '../../src/catalog/rating.ts';
import { isInput, isOutput, type Unit, type Usage } from '../../src/catalog/units.ts';
import { parseJson } from '../../src/lib/http-json.ts';
import { isObject, type Json } from '../../src/lib/json.ts';
import { requestBounds } from '../../src/metering/bounds.ts';
import { pictureTokens } from '../../src/metering/image-tokens.ts';
import { readChatRequest } from '../../src/metering/requests/chat.ts';
import { type Row, recordedBytes, recordedRows, recordedUsage, shared } from '../support/recorded.ts';

const OWN_PROMPT = 'the provider puts instructions of its own before the messages, and bills them';
const AGENT = 'the model runs tools by itself, though none was asked for, and reads what they find';
/** Every recording of which a side is beyond its bound, and why; then those whose charge exceeds their hold. */
const REASONS: Readonly<Record<string, string>> = {
  'bedrock.invoke.full.007.json': 'no real request: its long prompt was replaced before it was kept',
  'groq.chat.full.005.json': AGENT,
  'groq.chat.full.006.json': `${AGENT}; its search_settings are refused here`,
  'ollama.chat.full.004.json': 'the form that was asked for is described to the model in a prompt',
  'openrouter.chat.stream.002.sse': 'a limit of 1 token was raised to the least that the model takes, 16',
  'openrouter.chat.stream.011.sse': `${OWN_PROMPT}; its models are refused here`,
  'openrouter.chat.stream.015.sse': OWN_PROMPT,
  'venice.chat.stream.002.sse': OWN_PROMPT,
  'xai.chat.full.001.json': OWN_PROMPT,
  'xai.responses.stream.001.sse': 'the limit of 16 tokens did not bind the thoughts, 109 tokens',
};
const EXCEEDING = ['openrouter.chat.stream.015.sse', 'venice.chat.stream.002.sse'];

const prices = `${shared}prices/model_prices_and_context_window.json`;
const rows = recordedRows().filter(
  ({ request_file, http_status }) => Boolean(request_file) && (http_status ?? 200) < 300,
);
const present = rows.length > 0 && existsSync(prices);
if (!present) console.warn(`NOT RUN: there are no recordings, or no price table, in ${shared}`);
const table = present ? (parseJson(readFileSync(prices)) as Record<string, Json>) : {};

const STAND_IN: WrittenPrice = { input: '1', cached_input: '0.1', cache_write: '1.25', output: '4' };
/** Not in the table, or not for every model: what is asked for must have a price. */
const ASKED: WrittenPrice = { 'tool:web_search': '0.01', input_audio: '10', output_audio: '20' };

interface Terms {
  price: Price;
  maxOutputTokens: number;
  contextWindow: number | null;
}

function termsOf(row: Row, model: string): Terms {
  const names = [row.cost_check?.price_key, model, row.model, `${row.file.split('.')[0]}/${model}`];
  const key = names.find((name) => name !== undefined && isObject(table[name]));
  const listed = key === undefined ? {} : table[key]!;
  const { price } = key === undefined ? { price: null } : readRow(listed, { sized: false });
  const priced = price?.input !== undefined && price.output !== undefined;
  const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
  return {
    price: readPrice({ ...ASKED, ...(priced ? price : STAND_IN), service_tiers: {} }),
    maxOutputTokens: number(listed.max_output_tokens) ?? 128_000,
    contextWindow: number(listed.max_input_tokens),
  };
}

/** The request as it was sent, as far as it was kept: characters that were cut out are put back as other ones. */
function requestOf(row: Row): Json {
  const kept = recordedBytes(row.request_file!).toString();
  return JSON.parse(kept.replace(/<elided (\d+) characters>/g, (_, cut: string) => 'x'.repeat(Number(cut)))) as Json;
}

const LIMITS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens', 'max_tokens_to_sample', 'max_gen_len'];
const NESTED = ['generationConfig', 'inferenceConfig', 'textGenerationConfig', 'options'];
const NESTED_LIMITS = ['maxOutputTokens', 'maxTokens', 'maxTokenCount', 'num_predict'];

function limitOf(json: Json): number | null {
  const inside = NESTED.map((name) => json[name]).filter(isObject);
  const limits = [
    ...LIMITS.map((name) => json[name]),
    ...inside.flatMap((node) => NESTED_LIMITS.map((name) => node[name])),
  ];
  return limits.find((limit) => typeof limit === 'number') ?? null;
}

/** Members that name what is stored elsewhere, or have other passes run. */
const STORED =
  /^(previous_response_id|conversation|file_?id|file_?data|fileUri|context_management|mcp_servers|container|_files_omitted)$/;
const PICTURE = /^(image_url|input_image|image)$/;
const CLIENT_TOOLS = new Set<unknown>(['function', 'custom']);

/** Pictures in a request of any dialect, and whether anything in it is bounded by the window alone. */
function look(node: unknown, found = { pictures: 0, unbounded: false }): { pictures: number; unbounded: boolean } {
  if (Array.isArray(node)) for (const one of node) look(one, found);
  if (!isObject(node)) return found;
  if (typeof node.type === 'string' && PICTURE.test(node.type)) found.pictures++;
  for (const [name, value] of Object.entries(node)) {
    if (/^inline_?data$/i.test(name)) found.pictures++;
    if (STORED.test(name) && value !== null) found.unbounded = true;
    if (name === 'tools' && Array.isArray(value)) found.unbounded ||= value.some(isHosted);
    if (name !== 'parameters' && name !== 'input_schema') look(value, found);
  }
  return found;
}

function isHosted(tool: unknown): boolean {
  if (!isObject(tool)) return false;
  if (tool.type !== undefined) return !CLIENT_TOOLS.has(tool.type);
  return !['name', 'function', 'functionDeclarations', 'function_declarations', 'toolSpec'].some(
    (name) => name in tool,
  );
}

function boundsOf(row: Row, json: Json, terms: Terms): Bounds {
  const named = typeof json.model === 'string' ? json : { model: row.model, ...json };
  const body = Buffer.from(JSON.stringify(named));
  const model = { ...terms, routes: [{ provider: 'p', model: String(named.model) }] };
  if (row.api_style === 'chat') {
    // Refused whatever its price; it would be bounded as any other.
    const { models: _models, search_settings: _settings, ...served } = named as Json;
    return requestBounds(readChatRequest(Buffer.from(JSON.stringify(served))), model);
  }
  const { pictures, unbounded } = look(json);
  const window = terms.contextWindow ?? 2_000_000;
  const seen = pictures * pictureTokens([{ size: null, low: false }], [row.model]);
  const tools = isObject(json.toolConfig) || (Array.isArray(json.tools) && json.tools.length > 0) ? 512 : 0;
  return {
    input: unbounded ? window : Math.min(body.length + seen + tools, window),
    output:
      Math.min(limitOf(json) ?? terms.maxOutputTokens, terms.maxOutputTokens) *
      (typeof json.n === 'number' ? json.n : 1),
  };
}

interface Outcome {
  row: Row;
  held: bigint;
  charged: bigint;
  /** Tokens of the input beyond its bound, and of the output. */
  input: number;
  output: number;
}

function outcomeOf(row: Row): Outcome | null {
  const recorded = recordedUsage(row);
  if (recorded === null) return null;
  const json = requestOf(row);
  const terms = termsOf(row, String(json.model ?? row.model));
  const bounds = boundsOf(row, json, terms);
  const entries = Object.entries(recorded.usage) as [Unit, number][];
  const usage: Usage = Object.fromEntries(
    entries.filter(([unit]) => isInput(unit) || isOutput(unit) || bounds.others?.[unit] !== undefined),
  );
  const output = entries.reduce((sum, [unit, count]) => sum + (isOutput(unit) ? count : 0), 0);
  return {
    row,
    held: boundCharge(bounds, terms.price, 1_000n),
    charged: charge(usage, terms.price, 1_000n, {}),
    input: inputTokens(recorded.usage) - bounds.input,
    output: output - bounds.output,
  };
}

const outcomes = present ? rows.map(outcomeOf).filter((outcome) => outcome !== null) : [];
const exceeding = outcomes.filter(({ held, charged }) => charged > held);
/** A side beyond its own bound, though the room of the other may have paid for it. */
const beyond = outcomes.filter(({ input, output }) => input > 0 || output > 0);
const micro = (nano: bigint): string => (Number(nano) / 1e6).toFixed(1);

function report(): string {
  const styles = [...new Set(outcomes.map(({ row }) => row.api_style))].sort();
  const lines = styles.map((style) => {
    const of = outcomes.filter(({ row }) => row.api_style === style);
    const over = exceeding.filter(({ row }) => row.api_style === style);
    const shares = of
      .filter(({ held }) => held > 0n)
      .map(({ held, charged }) => Number((charged * 10_000n) / held) / 100);
    const median = shares.sort((a, b) => a - b)[Math.floor(shares.length / 2)] ?? 0;
    const most = over.reduce((max, { held, charged }) => (charged - held > max ? charged - held : max), 0n);
    const sides = beyond.filter(({ row }) => row.api_style === style);
    const tokens = Math.max(0, ...sides.flatMap(({ input, output }) => [input, output]));
    const cells = [of.length, `${median.toFixed(2)} %`, over.length, micro(most), sides.length, tokens];
    return [style.padEnd(20), ...cells.map((cell) => String(cell).padStart(12))].join('');
  });
  const head = ['charged/held', 'exceed', 'by µ$', 'a side does', 'by tokens'];
  const details = [...new Set([...exceeding, ...beyond])].map(
    ({ row, held, charged, input, output }) =>
      `  ${row.file}: charge ${micro(charged)} µ$, hold ${micro(held)}; input ${input > 0 ? `+${input}` : 'within'}, ` +
      `output ${output > 0 ? `+${output}` : 'within'}: ${REASONS[row.file] ?? 'NOT EXPLAINED'}`,
  );
  const title = ['api style'.padEnd(20), ...['requests', ...head].map((cell) => cell.padStart(12))].join('');
  return [title, ...lines, ...details].join('\n');
}

describe.skipIf(!present)('recorded requests', () => {
  it('are charged no more than was held, but for those that are named here with their reason', () => {
    console.info(report());
    expect(outcomes.length).toBeGreaterThan(200);
    expect(exceeding.map(({ row }) => row.file).sort()).toEqual(EXCEEDING);
    expect(beyond.map(({ row }) => row.file).sort()).toEqual(Object.keys(REASONS).sort());
  });
});
