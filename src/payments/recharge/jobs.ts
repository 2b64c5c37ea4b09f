/** The jobs of auto-recharge. Any number of processes may run them at once: the database decides each purchase, and who charges it. */
import type { Job } from '../../lib/job.ts';
import type { PaymentDeps } from '../deps.ts';
import { beginWanted, sweepLow } from './begin.ts';
import { chargeDue } from './charge.ts';

const SOON_MS = 1_000;
const SWEEP_MS = 60_000;

/** `recharge-wanted` and `recharge-charge` may be woken. */
export function rechargeJobs(deps: PaymentDeps): Job[] {
  return [
    { name: 'recharge-wanted', everyMs: SOON_MS, run: (signal) => beginWanted(deps, signal) },
    { name: 'recharge-charge', everyMs: SOON_MS, run: (signal) => chargeDue(deps, signal) },
    { name: 'recharge-sweep', everyMs: SWEEP_MS, run: (signal) => sweepLow(deps, signal) },
  ];
}
