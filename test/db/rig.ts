/** What the tests of the embedded Postgres have in common: owners in processes of their own, one query. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { findServer } from '../../src/db/embedded/process.ts';

export interface Owner {
  child: ChildProcess;
  url: string;
  adopted: boolean;
  /** Why it did not start. */
  refused?: string;
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
}

/** `owner.ts` in a process group of its own, once it is ready or refused. */
export async function spawnOwner(verb: 'start' | 'join', dataDir: string): Promise<Owner> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'owner.ts'), verb, dataDir], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal);
    return (await exited)[0];
  };
  onTestFinished(async () => void (await end('SIGKILL')));
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
  return { child, end, ...(JSON.parse(line) as { url: string; adopted: boolean; refused?: string }) };
}

/** The first column of the first row. */
export async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query({ text: sql, rowMode: 'array' });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

/** The pid of the Postgres that runs on the folder; `undefined`: none does. */
export function serverPid(dataDir: string): number | undefined {
  return findServer(join(dataDir, 'postgres'))?.pid;
}

export function access(dataDir: string): { port: number; url: string; owner_pid: number } {
  return JSON.parse(readFileSync(join(dataDir, 'postgres.json'), 'utf8'));
}
