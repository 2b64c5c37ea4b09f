/** The house style, as far as a machine can see it and the linter does not. */
import { breach, isIdentifier, isNode, lineOf, type Node, type Source } from './source.ts';

export const MAX_FILE_LINES = 300;
export const MAX_FUNCTION_LINES = 60;

/** A rule on nodes: the breaches of `judge`, in every file but those that `allowed` matches. */
function nodeRule(allowed: RegExp, judge: (node: Node) => string | null): (sources: Source[]) => string[] {
  return (sources) =>
    sources
      .filter(({ path }) => !allowed.test(path))
      .flatMap((source) =>
        source.nodes.flatMap((node) => {
          const reason = judge(node);
          return reason === null ? [] : [breach(source, node, reason)];
        }),
      );
}

/** A rule on text, comments included: what `pattern` finds is a breach. */
function textRule(pattern: RegExp, reason: string): (sources: Source[]) => string[] {
  return (sources) =>
    sources.flatMap((source) =>
      [...source.text.matchAll(pattern)].map((match) => breach(source, { start: match.index }, reason)),
    );
}

const NOWHERE = /^$/;

export const environment = nodeRule(/^src\/config\.ts$/, (node) => {
  const read = isMember(node, 'process', 'env');
  const imported = node.type === 'ImportSpecifier' && isIdentifier(node.imported, 'env');
  return read || imported ? 'only src/config.ts reads the environment: take the setting as an argument' : null;
});

export const printing = nodeRule(/^src\/cli(\.ts$|\/)/, (node) =>
  node.type === 'MemberExpression' && isIdentifier(node.object, 'console')
    ? 'only the CLI prints: use the logger of observe/log.ts'
    : null,
);

export const anyTypes = nodeRule(NOWHERE, (node) =>
  node.type === 'TSAnyKeyword' ? 'write the type, or unknown: not any' : null,
);

export const ignoredErrors = textRule(/@ts-(ignore|nocheck)\b/g, 'repair what the compiler found instead of hiding it');

export const leftovers = textRule(/\b(TODO|FIXME|XXX)\b/g, 'finish it, or file an issue');

export function longFiles(sources: Source[]): string[] {
  return sources.flatMap(({ path, text }) => {
    const lines = text.trimEnd().split('\n').length;
    return lines > MAX_FILE_LINES
      ? [`${path}:${lines}: at most ${MAX_FILE_LINES} lines a file: split it by meaning`]
      : [];
  });
}

export function longFunctions(sources: Source[]): string[] {
  return sources.flatMap((source) =>
    source.nodes.flatMap((node) => {
      if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) return [];
      const lines = lineOf(source.text, node.end) - lineOf(source.text, node.start) + 1;
      return lines > MAX_FUNCTION_LINES
        ? [breach(source, node, `${lines} lines: at most ${MAX_FUNCTION_LINES} a function`)]
        : [];
    }),
  );
}

const MONEY = /(credits?|amount|price|balance|nano|debt|posted|held|charged?|cost|available|overdraft)$/i;

/** Where money lives, it is a bigint from end to end. */
export function floatMoney(sources: Source[]): string[] {
  const judge = nodeRule(NOWHERE, (node) => {
    if (node.type === 'Identifier' && node.name === 'parseFloat')
      return 'money is never a float: parse it with lib/money.ts';
    if (node.type === 'Identifier' && node.name === 'toFixed')
      return 'money is never a float: format it with lib/money.ts';
    const converts = node.type === 'CallExpression' && isIdentifier(node.callee, 'Number');
    return converts && (node.arguments as Node[]).some(namesMoney)
      ? 'money is a bigint: a Number loses its last digits'
      : null;
  });
  return judge(
    sources.filter(({ path }) => /^src\/(ledger|catalog|accounts|gateway|customer|admin|payments)\//.test(path)),
  );
}

const PROVIDERS =
  /openai|anthropic|claude|gemini|vertex|bedrock|azure|mistral|groq|deepseek|grok|cohere|openrouter|fireworks|ollama|vllm/i;

/** Names and strings only: a comment may say whose habit it works around. The URLs that clients ask for have one in them. */
export const providerNames = nodeRule(
  /^src\/(upstream\/|metering\/readers\/|config|gateway\/deployments\.ts)/,
  (node) => {
    const words = node.type === 'TemplateElement' ? (node.value as { raw: string }).raw : (node.name ?? node.value);
    const name = typeof words === 'string' ? PROVIDERS.exec(words)?.[0] : undefined;
    return name === undefined ? null : `"${name}": a provider is named in upstream/, metering/readers/ and config only`;
  },
);

function isMember(node: Node, object: string, property: string): boolean {
  if (node.type !== 'MemberExpression' || !isIdentifier(node.object, object)) return false;
  return isNode(node.property) && (node.property.name ?? node.property.value) === property;
}

function namesMoney(node: Node): boolean {
  if (node.type === 'Identifier') return MONEY.test(String(node.name));
  if (node.type === 'MemberExpression') return isNode(node.property) && namesMoney(node.property);
  return false;
}
