/**
 * A process of its own that asks for credits as a gateway does, through its writer. Started by overspend.test.ts with the
 * database's address and its owner; each message is a list of operations to ask for at once, and is answered by theirs.
 */

import { WriterConnection } from '../../src/ledger/connection.ts';
import type { Hold, Release, Settle } from '../../src/ledger/operations.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';

export type Asked = Hold | Settle | Release;

const [url, owner] = process.argv.slice(2);
const connection = new WriterConnection(url!, BigInt(owner!), silentLogger);
const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger, holdTimeoutMs: 20_000 });

function ask(operation: Asked) {
  switch (operation.verb) {
    case 'hold':
      return writer.hold(operation);
    case 'settle':
      return writer.settle(operation);
    case 'release':
      return writer.release(operation);
  }
}

process.on('message', (operations: Asked[]) => {
  Promise.all(operations.map(ask)).then(
    (results) => process.send!(results),
    (error: Error) => process.send!(error.message),
  );
});
process.on('disconnect', () => {
  void writer.close().then(() => connection.close());
});
process.send!('ready');
