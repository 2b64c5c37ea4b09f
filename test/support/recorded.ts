/** Recorded answers, read as the gateway reads them. They lie beside the project and are no part of it. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Terms } from '../../src/catalog/price.ts';
import type { Usage } from '../../src/catalog/units.ts';
import { sumOf } from '../../src/metering/readers/events.ts';
import { dialectOf, framingOf, splitterFor } from '../../src/metering/readers/index.ts';
import type { AnswerHeaders } from '../../src/metering/readers/types.ts';

export interface Row {
  file: string;
  model: string;
  api_style: string;
  streaming: boolean;
  http_status: number | null;
  content_type: string | null;
  response_headers: AnswerHeaders | null;
  request_file?: string | null;
  cost_check?: { reported_usd: number; price_key?: string } | null;
}

export const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
const manifest = `${shared}recordings/manifest.jsonl`;

/** What was recorded; nothing where the recordings are not there. */
export function recordedRows(): Row[] {
  if (!existsSync(manifest)) return [];
  const lines = readFileSync(manifest, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Row);
}

/** The bytes of an answer, or of its request. */
export function recordedBytes(file: string): Buffer {
  return readFileSync(`${shared}recordings/${file}`);
}

/** What an answer used, with what was used beside its usage object, and what bears on its price; `null`: it reports none. */
export function recordedUsage(row: Row): { usage: Usage; terms: Terms } | null {
  const dialect = dialectOf(row.api_style)!;
  const body = recordedBytes(row.file);
  const framing = row.streaming ? framingOf(dialect, row.content_type) : null;
  if (framing === null) {
    const { reported, beside, terms } = dialect.readJson(body, row.response_headers ?? {});
    return reported === null ? null : { usage: sumOf([dialect.normalise(reported), beside]), terms };
  }
  const [reader, splitter] = [dialect.stream(framing), splitterFor(framing, 1 << 25)];
  for (const bytes of [body, Buffer.from('\n\n')]) splitter.push(bytes, (frame) => void reader.frame(frame));
  const reported = reader.usage();
  return reported === null
    ? null
    : { usage: sumOf([dialect.normalise(reported), reader.beside()]), terms: reader.terms() };
}
