/**
 * A gateway leaves a note of its owner id in its data folder, so that after a crash the next one there can end its holds
 * at once instead of waiting for the lease.
 *
 *   (start) ──record──▶ noted ──clean exit──▶ forgotten
 *                         └──process gone──▶ former: ended by the next start, then forgotten
 *
 * A note counts only on the machine that wrote it, and only when its process is certainly gone: same host name, and no
 * process of that id that started at that time. Anything else is left to the lease.
 */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

interface Note {
  owner: string;
  host: string;
  pid: number;
  startedAt: string;
  /** Which process ids those are: containers may share a host name and a folder, and count their own. */
  namespace: string;
}

const FOLDER = 'gateways';

/** Notes that this process is `owner`. */
export function recordOwner(dataDir: string, owner: bigint): void {
  const folder = join(dataDir, FOLDER);
  mkdirSync(folder, { recursive: true });
  const note: Note = {
    owner: owner.toString(),
    host: hostname(),
    pid: process.pid,
    startedAt: startOf(process.pid) ?? '',
    namespace: namespaceOf(),
  };
  writeFileSync(join(folder, `${owner}.json`), JSON.stringify(note), { mode: 0o600 });
}

/** Removes the note: the owner ended cleanly, or its holds were ended. */
export function forgetOwner(dataDir: string, owner: bigint): void {
  rmSync(join(dataDir, FOLDER, `${owner}.json`), { force: true });
}

/** Owners that ran on this machine with this data folder and are certainly dead. */
export function formerOwners(dataDir: string): bigint[] {
  let names: string[];
  try {
    names = readdirSync(join(dataDir, FOLDER));
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const note = readNote(join(dataDir, FOLDER, name));
    return note !== null && note.host === hostname() && note.namespace === namespaceOf() && isGone(note)
      ? [BigInt(note.owner)]
      : [];
  });
}

/** A note that was torn by a crash says nothing: the lease will. */
function readNote(path: string): Note | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Note;
  } catch {
    return null;
  }
}

function isGone(note: Note): boolean {
  try {
    process.kill(note.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  const start = startOf(note.pid);
  return start !== null && start !== note.startedAt;
}

function namespaceOf(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

/** When a process started, in the kernel's clock ticks since boot; `null` where the system does not say. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
