/** A process that owns or joins an embedded Postgres until it is stopped: `owner.ts start|join FOLDER`. */
import { joinEmbedded, startEmbedded } from '../../src/db/embedded/index.ts';
import { silentLogger } from '../../src/observe/log.ts';

const [verb, dataDir] = process.argv.slice(2);
// Ctrl-C reaches every process of the terminal: this one has work to finish.
process.on('SIGINT', () => {});
try {
  const postgres = await (verb === 'start' ? startEmbedded : joinEmbedded)({ dataDir: dataDir!, log: silentLogger });
  const stop = (): void => void postgres.stop().then(() => process.exit(0));
  process.on('SIGTERM', stop);
  // The tests were killed.
  process.stdin.on('end', stop).resume();
  console.log(JSON.stringify({ url: postgres.url, adopted: postgres.adopted }));
} catch (error) {
  console.log(JSON.stringify({ refused: (error as Error).message }));
  process.exit(1);
}
