/** Metrics of the jobs: whether each still comes to its end. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Workers } from './run.ts';

/** Adds them to what is read as metrics. */
export function measureJobs(workers: Workers, registry: Registry): void {
  const registers = [registry];
  const labelNames = ['job'];
  new Counter({
    name: 'tollgate_job_failures_total',
    help: 'Runs of jobs that failed; each is tried again.',
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const [job, { failures }] of workers.standings()) this.inc({ job }, failures);
    },
  });
  new Gauge({
    name: 'tollgate_job_last_success_timestamp_seconds',
    help: 'When each job last ran without failing, in seconds since 1970.',
    labelNames,
    registers,
    collect() {
      for (const [job, { lastSuccessMs }] of workers.standings()) {
        if (lastSuccessMs !== null) this.set({ job }, lastSuccessMs / 1000);
      }
    },
  });
}
