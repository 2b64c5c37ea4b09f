/** A process that migrates the database it is given, and prints what it applied. */
import { migrate } from '../../src/db/migrate.ts';
import { silentLogger } from '../../src/observe/log.ts';

console.log(JSON.stringify((await migrate(process.argv[2]!, silentLogger)).applied));
