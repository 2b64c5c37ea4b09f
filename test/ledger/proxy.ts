/** A TCP proxy in front of Postgres that fails as networks do: half-open, an answer that is lost, nobody there. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * forward    bytes pass both ways
 * freeze     connections stay open and nothing passes any more, in either direction
 * no answers what the client sends arrives, what the server answers is lost
 * refuse     new connections are closed at once
 */
export type Mode = 'forward' | 'freeze' | 'no answers' | 'refuse';

export interface FaultyProxy {
  url: string;
  /** For new connections and for open ones, except that `forward` never mends an open one that has lost bytes. */
  mode: Mode;
  cut(): void;
  close(): Promise<void>;
}

/** A proxy to the server that `databaseUrl` names. */
export async function startProxy(databaseUrl: string): Promise<FaultyProxy> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const pipe = (from: Socket, to: Socket, stoppedBy: readonly Mode[]): void => {
    let broken = false;
    from.on('data', (bytes) => {
      broken ||= stoppedBy.includes(proxy.mode);
      if (!broken) to.write(bytes);
    });
    from.on('error', () => {});
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer((client) => {
    if (proxy.mode === 'refuse') {
      client.destroy();
      return;
    }
    const upstream = connect(Number(target.port), target.hostname);
    sockets.add(client).add(upstream);
    pipe(client, upstream, ['freeze']);
    pipe(upstream, client, ['freeze', 'no answers']);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const proxy: FaultyProxy = {
    url: url.toString(),
    mode: 'forward',
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    close: async () => {
      proxy.cut();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
