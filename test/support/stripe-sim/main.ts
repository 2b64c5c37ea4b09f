/**
 * The simulator as a program: `node test/support/stripe-sim/main.ts [--port N] [--seed N] [--live]`. Prints one line of
 * JSON, `{"url": …, "secret": …}`, and runs until SIGTERM or SIGINT.
 */
import { parseArgs } from 'node:util';
import { startSimulator } from './simulator.ts';

const { values } = parseArgs({
  options: { port: { type: 'string' }, seed: { type: 'string' }, live: { type: 'boolean', default: false } },
});
const simulator = await startSimulator({
  live: values.live,
  ...(values.port === undefined ? {} : { port: Number(values.port) }),
  ...(values.seed === undefined ? {} : { seed: Number(values.seed) }),
});
console.log(JSON.stringify({ url: simulator.url, secret: simulator.secret }));
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => void simulator.close().then(() => process.exit(0)));
