/** What is given again is bounded: it costs its client nothing, and must not cost this process all that it has. */
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { sealedTo } from '../../src/gateway/idempotency/claim.ts';
import type { KeptAnswer, Place } from '../../src/gateway/idempotency/claims.ts';
import { Replays } from '../../src/gateway/idempotency/replays.ts';
import { sealAnswer } from '../../src/gateway/idempotency/seal.ts';

const MIB = 1024 * 1024;
const place: Place = {
  account: 1n,
  key: 2n,
  name: Buffer.from('name'),
  fingerprint: Buffer.from('what it asks for'),
  request: '01890000-0000-7000-8000-000000000001',
};
const sealed = sealAnswer('api key', sealedTo(place), { status: 201, headers: {}, body: Buffer.alloc(10) });
const kept = (size: number): KeptAnswer => ({ outcome: 'kept', request: place.request, answer: sealed, size });

/** A client that takes nothing until it is told to. */
function open() {
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    writeHead: vi.fn(),
    end: vi.fn(),
    destroy: vi.fn(),
  });
  return Object.assign(response, { as: response as unknown as ServerResponse, taken: () => response.emit('close') });
}

async function* pieces() {
  yield sealed;
}

const replay = (replays: Replays, to: ReturnType<typeof open>, size: number, account = 1n, key = 'api key') =>
  replays.replay(to.as, key, { ...place, account }, kept(size), pieces());

afterEach(() => void vi.useRealTimers());

describe('answers given again', () => {
  it('take at most 32 MiB of an account at once, and its room is free once they are taken', async () => {
    const replays = new Replays();
    const clients = Array.from({ length: 4 }, open);
    for (const client of clients) expect(await replay(replays, client, 8 * MIB)).toBe(201);
    const refused = open();
    await expect(replay(replays, refused, 1)).rejects.toMatchObject({ code: 'overloaded' });
    expect(refused.writeHead).not.toHaveBeenCalled();
    // Another account has room of its own.
    await expect(replay(replays, open(), 8 * MIB, 9n)).resolves.toBe(201);
    clients[0]!.taken();
    await expect(replay(replays, open(), 8 * MIB)).resolves.toBe(201);
  });

  it('take at most 256 MiB of all', async () => {
    const replays = new Replays();
    const ask = (account: bigint) => replay(replays, open(), 32 * MIB, account);
    for (let account = 1n; account <= 8n; account++) await ask(account);
    await expect(ask(9n)).rejects.toMatchObject({ code: 'overloaded' });
  });

  it('are given up when their client takes nothing for a minute', async () => {
    vi.useFakeTimers();
    const replays = new Replays();
    const client = open();
    await replay(replays, client, 8 * MIB);
    vi.advanceTimersByTime(59_000);
    expect(client.destroy).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1_000);
    expect(client.destroy).toHaveBeenCalled();
  });

  it.each([
    ['cannot be opened', 'another key', false],
    ['have no client any more', 'api key', true],
  ])('take no room when they %s', async (_name, key, gone) => {
    const replays = new Replays();
    const client = Object.assign(open(), { destroyed: gone });
    await replay(replays, client, 8 * MIB, 1n, key).catch(() => {});
    expect(client.writeHead).not.toHaveBeenCalled();
    expect(replays.bytes).toBe(0);
    client.taken();
    expect(replays.bytes).toBe(0);
  });
});
