/** The child's side of a process of the benchmark: it lives as long as its parent is connected, and answers its messages. */
import type { AddressInfo, Server } from 'node:net';

// Ctrl-C reaches every process of the terminal, but it is the parent who ends them, in an order.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

/** Says that the process is ready, then answers each message. `close` runs when the parent disconnects or has died. */
export function serveParent<Message>(
  ready: unknown,
  answer: (message: Message) => unknown,
  close: () => Promise<void> | void = () => {},
): void {
  const end = async (): Promise<void> => {
    await close();
    process.exit(0);
  };
  if (!process.connected) {
    void end();
    return;
  }
  process.on('disconnect', end);
  process.on('message', async (message: Message) => process.send!({ answer: await answer(message) }));
  process.send!({ answer: ready });
}

/** Listens on a free port of the loopback interface. */
export function listen(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}
