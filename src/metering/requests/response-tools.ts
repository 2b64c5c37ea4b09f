/**
 * The tools of a Responses request. What the client runs is text to the model. What the provider runs is a unit that the model
 * must have a price for, and makes the model read its context again: for each call, as it may make several before it answers.
 * Of tools that have no fee of their own (servers of MCP, which are the customer's; the search of tools) only tokens are billed.
 */
import { isUnit } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { type AskedUnit, MOST_CALLS, type Painter, toolName } from './asks.ts';
import { invalid } from './json-body.ts';
import { isMisread } from './message-parts.ts';
import { likelyPictureTokens, mostPictureTokens } from './picture-tokens.ts';

/** Run by the client: the model says what it wants, and the answer ends. */
const CLIENT = new Set(['function', 'custom', 'local_shell', 'apply_patch', 'computer', 'computer_use_preview']);
/** The memory of a container that has the price of the plain one: larger ones cost up to 64 times as much. */
const PLAIN_MEMORY = '1g';
/** How deep lists of tools are looked into: a namespace has tools, and no namespaces. */
const MOST_LEVELS = 2;
/** Pictures of one answer, where the request does not say how many calls of tools it may make. */
const MOST_PICTURES = 4;
/** Pictures that come before one, while it is drawn. */
const MOST_PARTIAL = 3;
/** The model that draws where the tool names none. */
const DEFAULT_PAINTER = 'gpt-image-1';

export interface ToolsAsked {
  units: AskedUnit[];
  /** Whether the provider runs any. */
  areHosted: boolean;
  /** Who draws pictures; `null`: nobody does. */
  painter: Painter | null;
  /** How many at most. */
  pictures: number;
}

/**
 * Reads lists of tools. `mostCalls`: of all tools of the provider together, where the request says it. Throws
 * `invalid_request` where there is a tool that nobody could price.
 */
export function readResponseTools(lists: readonly unknown[], mostCalls: number | null): ToolsAsked {
  const asked: ToolsAsked = { units: [], areHosted: false, painter: null, pictures: 0 };
  for (const list of lists) readList(list, asked, mostCalls, MOST_LEVELS);
  return asked;
}

function readList(list: unknown, asked: ToolsAsked, mostCalls: number | null, levels: number): void {
  if (!Array.isArray(list)) throw invalid('tools', 'must be an array');
  if (levels === 0) throw invalid('tools', 'a namespace has functions, and no namespaces');
  for (const tool of list) {
    if (!isObject(tool) || isMisread(tool) || typeof tool.type !== 'string') {
      throw invalid('tools', 'each must be an object that has a type');
    }
    if (tool.type === 'namespace') readList(tool.tools, asked, mostCalls, levels - 1);
    else if (!CLIENT.has(tool.type)) readHosted(tool as Json & { type: string }, asked, mostCalls);
  }
}

function readHosted(tool: Json & { type: string }, asked: ToolsAsked, mostCalls: number | null): void {
  const { type, environment } = tool;
  if (type === 'tool_search' && tool.execution === 'client') return;
  if (type === 'shell' && isObject(environment) && environment.type === 'local') return;
  asked.areHosted = true;
  if (type === 'tool_search') return;
  if (type === 'mcp') {
    // A tunnel leads into the network of whoever has the provider's account.
    if ((tool.tunnel_id ?? null) !== null)
      throw invalid('tools', 'this gateway does not serve tunnels to servers of MCP');
    return;
  }
  const calls = Math.min(mostCalls ?? MOST_CALLS, MOST_CALLS);
  if (type === 'image_generation') {
    readPainter(tool, asked, mostCalls === null ? MOST_PICTURES : calls);
    return;
  }
  const unit = `tool:${toolName(type)}`;
  if (!isUnit(unit)) throw invalid('tools', 'this gateway does not know this type of tool');
  refuseLarge(tool.container);
  refuseLarge(environment);
  asked.units.push({ unit, param: 'tools', most: runsInContainer(type) ? 1 : calls });
}

function readPainter(tool: Json, asked: ToolsAsked, pictures: number): void {
  const model = tool.model ?? DEFAULT_PAINTER;
  if (typeof model !== 'string') throw invalid('tools', 'the model that draws must be the name of a model');
  if (asked.painter !== null) throw invalid('tools', 'pictures are drawn by one tool');
  const size = typeof tool.size === 'string' ? tool.size : null;
  const quality = typeof tool.quality === 'string' ? tool.quality : null;
  asked.painter = { model, likelyTokens: likelyPictureTokens(size, quality) };
  asked.pictures = pictures;
  const most = pictures * mostPictureTokens(size, quality, MOST_PARTIAL);
  asked.units.push({ unit: 'output_image', param: 'tools', most });
}

/** All calls of one answer run in one container, which is charged once. */
function runsInContainer(type: string): boolean {
  return type === 'code_interpreter' || type === 'shell';
}

function refuseLarge(container: unknown): void {
  const memory = isObject(container) ? (container.memory_limit ?? PLAIN_MEMORY) : PLAIN_MEMORY;
  if (memory !== PLAIN_MEMORY)
    throw invalid('tools', `a container has a price here with "memory_limit": "${PLAIN_MEMORY}" only`);
}
