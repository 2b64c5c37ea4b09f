/** The commands. Exit status: 0 success, 1 failure, 2 a command line that makes no sense. */
import { accountCreate, creditsGrant, keyCreate } from './cli/accounts.ts';
import { type Command, helpOf, readLine, UsageError } from './cli/command.ts';
import { catalogApply, ledgerRebuild, ledgerVerify, migrate, serve } from './cli/operations.ts';
import { pricesImport } from './cli/prices.ts';
import { recordingsVerify } from './cli/recordings.ts';
import { stripeReconcile, stripeReplay, stripeSetup } from './cli/stripe.ts';
import { TollgateError } from './errors.ts';

const COMMANDS: readonly Command[] = [
  serve,
  migrate,
  catalogApply,
  pricesImport,
  accountCreate,
  keyCreate,
  creditsGrant,
  ledgerVerify,
  ledgerRebuild,
  recordingsVerify,
  stripeSetup,
  stripeReplay,
  stripeReconcile,
];

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length)) + 2;
  return [
    'Usage: npx tollgate COMMAND [--help] [--json]',
    '',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
  ].join('\n');
}

/** Runs one command line; resolves with the exit status. */
async function main(args: string[]): Promise<number> {
  const command = COMMANDS.find(({ name }) => name.split(' ').every((word, i) => args[i] === word));
  if (command === undefined) return withoutCommand(args);
  const rest = args.slice(command.name.split(' ').length);
  try {
    const line = readLine(command, rest, { print, progress });
    if (line === null) {
      print(helpOf(command));
      return 0;
    }
    const { json, text, failed } = await command.run(line);
    if (text !== null) print(line.json ? JSON.stringify(json) : text);
    return failed ? 1 : 0;
  } catch (error) {
    return fail(error, command, rest.includes('--json'));
  }
}

function withoutCommand(args: string[]): number {
  if (args.includes('--help') || args.includes('-h')) {
    print(overview());
    return 0;
  }
  progress(`${args.length === 0 ? 'Which command?' : `There is no command "${args.join(' ')}".`}\n\n${overview()}`);
  return 2;
}

/** Says what went wrong, as an API would with --json. */
function fail(thrown: unknown, command: Command, json: boolean): number {
  const error = thrown as Error;
  const usage = error instanceof UsageError;
  if (json) {
    const body = error instanceof TollgateError ? error.body() : plainBody(error.message, usage);
    progress(JSON.stringify(body));
  } else {
    progress(`tollgate: ${inWordsOfTheLine(error)}${usage ? `\n\n${helpOf(command)}` : ''}`);
  }
  return usage ? 2 : 1;
}

function plainBody(message: string, usage: boolean) {
  const [type, code] = usage ? ['invalid_request_error', 'invalid_request'] : ['api_error', 'internal_error'];
  return { error: { message, type, param: null, code } };
}

/** Names options as they are written here, and what only operators may see. */
function inWordsOfTheLine(error: Error): string {
  if (!(error instanceof TollgateError)) return error.message;
  const param = error.param ?? '';
  const message = error.message.replaceAll(`'${param}'`, `--${param.split('.', 1)[0]!.replaceAll('_', '-')}`);
  const cause = error.cause instanceof Error ? error.cause.message : error.cause;
  return error.code === 'internal_error' && cause !== undefined ? String(cause) : message;
}

const status = await main(process.argv.slice(2));
// What was printed leaves first; then the process does, whatever a failed start or a second Ctrl-C left open.
process.stdout.write('', () => process.exit(status));
