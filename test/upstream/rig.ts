/** An `openai` provider in front of a scripted upstream, both fresh for each test of the file that calls `useRig`. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach } from 'vitest';
import { createOpenAiProvider } from '../../src/upstream/openai.ts';
import type { Provider, ProviderConfig } from '../../src/upstream/types.ts';
import { type ScriptedUpstream, startScriptedUpstream } from '../support/scripted-upstream.ts';

export interface Rig {
  readonly upstream: ScriptedUpstream;
  /** A provider in front of the scripted upstream, closed after the test. */
  provider(fields?: Partial<ProviderConfig>): Provider;
  /** A provider in front of a socket that answers the first bytes of each connection with these, and hangs up. */
  rawProvider(answer: string): Promise<Provider>;
}

export function useRig(): Rig {
  let upstream: ScriptedUpstream;
  const providers: Provider[] = [];
  const sockets: Socket[] = [];

  beforeEach(async () => {
    upstream = await startScriptedUpstream();
  });
  afterEach(async () => {
    await Promise.all(providers.splice(0).map((each) => each.close()));
    for (const socket of sockets.splice(0)) socket.destroy();
    await upstream.close();
  });

  const provider: Rig['provider'] = (fields = {}) => {
    const config = { name: 'p', kind: 'openai', baseUrl: upstream.url, ...fields };
    const created = createOpenAiProvider(config, 'sk-secret');
    providers.push(created);
    return created;
  };
  const rawProvider: Rig['rawProvider'] = async (answer) => {
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      socket.once('data', () => socket.end(answer));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.unref();
    return provider({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` });
  };
  return {
    get upstream() {
      return upstream;
    },
    provider,
    rawProvider,
  };
}
