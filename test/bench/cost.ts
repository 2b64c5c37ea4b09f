/** What a phase cost: CPU time by process, from Linux's /proc, and the WAL that the database wrote. */
import { existsSync, readFileSync } from 'node:fs';
import type { Pool } from 'pg';

/** The unit of /proc: 100 on every platform that Node runs on. */
const TICKS_PER_SECOND = 100;
const HAS_PROC = existsSync('/proc/self/stat');

/** CPU seconds of a process so far, user and system; of its dead children too, if `withDead`. NaN without /proc. */
export function cpuSeconds(pid: number, withDead = false): number {
  if (!HAS_PROC) return Number.NaN;
  // After the name, which may hold spaces: state is field 0, utime 11, stime 12, those of dead children 13 and 14.
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop()!.split(' ').map(Number);
  const ticks = fields[11]! + fields[12]! + (withDead ? fields[13]! + fields[14]! : 0);
  return ticks / TICKS_PER_SECOND;
}

/** CPU seconds of a Postgres so far: the postmaster, its backends, and those that have ended. */
export function postgresCpuSeconds(postmaster: number): number {
  if (!HAS_PROC) return Number.NaN;
  const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'latin1').split(' ').filter(Boolean);
  return children.reduce((sum, pid) => sum + cpuOfLiving(Number(pid)), cpuSeconds(postmaster, true));
}

/** 0 for one that ended after the list was read: the postmaster has it among its dead at the next reading. */
function cpuOfLiving(pid: number): number {
  try {
    return cpuSeconds(pid);
  } catch {
    return 0;
  }
}

/**
 * CPU seconds that the machine has given to processes, or that its host took from it, so far. Without interrupts:
 * what the loopback interface costs is in there, and is ours.
 */
export function machineCpuSeconds(): number {
  if (!HAS_PROC) return Number.NaN;
  const [, user, nice, system, , , , , steal] = readFileSync('/proc/stat', 'latin1').split(/\s+/, 9).map(Number);
  return (user! + nice! + system! + steal!) / TICKS_PER_SECOND;
}

/** Where the WAL ends, in bytes. */
export async function walBytes(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ bytes: string }>("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS bytes");
  return Number(rows[0]!.bytes);
}
