/**
 * The whole system under faults: two gateways under load, one Postgres that crashes, freezes and comes back, gateways that are
 * killed while it is away, a wire that fails at random. After each, what was charged is compared with what was served.
 * About five minutes. `npm run soak:faults`; with words behind it, only the stages whose names contain one of them.
 */

import { SLOTS } from './faults-load.ts';
import { type FaultRig, openFaultRig } from './faults-rig.ts';
import { chaos, type Figures, type Outage, outage, type Size, tooSlow } from './faults-stages.ts';

const SIZE: Size = { clients: 6, streams: 3 };
const EXIT_WITHIN_MS = 60_000;

const away = (fault: Outage) => (rig: FaultRig) => outage(rig, SIZE, fault);
const killA = (rig: FaultRig): Promise<void> => rig.kill('a');
const startA = (rig: FaultRig): Promise<void> => rig.start('a');
const stopA = async (rig: FaultRig): Promise<void> => {
  const startedAt = performance.now();
  const slow = setTimeout(() => {
    say('SIGTERM was not enough: killed');
    void rig.kill('a');
  }, EXIT_WITHIN_MS);
  const status = await rig.stop('a');
  clearTimeout(slow);
  say(`a exited with ${status} after ${Math.round(performance.now() - startedAt)} ms`);
  if (status !== 0) process.exitCode = 1;
};

/** With no operation that waits, only connections that do not answer are in the way. */
async function idleStop(rig: FaultRig): Promise<Figures> {
  rig.server.freeze();
  await stopA(rig);
  rig.server.thaw();
  await rig.start('a');
  return outage(rig, SIZE, { how: 'freeze', seconds: 0 });
}

const stages: Record<string, (rig: FaultRig) => Promise<Figures>> = {
  'crash, back after 3 s': away({ how: 'crash', seconds: 3 }),
  'crash, back after 40 s': away({ how: 'crash', seconds: 40 }),
  'frozen for 10 s': away({ how: 'freeze', seconds: 10 }),
  'frozen for 60 s': away({ how: 'freeze', seconds: 60 }),
  'gateway killed while it is away': away({ how: 'crash', seconds: 6, during: killA, after: startA }),
  'gateway killed, back after it was swept': away({
    how: 'crash',
    seconds: 6,
    during: killA,
    after: async (rig) => {
      await rig.holdsEnded();
      await rig.start('a');
    },
  }),
  'gateway stopped while it is away': away({ how: 'crash', seconds: 6, during: stopA, after: startA }),
  'gateway stopped while it is frozen': away({ how: 'freeze', seconds: 6, during: stopA, after: startA }),
  'idle gateway stopped while it is frozen': idleStop,
  'wire struck at random for 60 s': (rig) => chaos(rig, SIZE, 60),
};

const startedAt = performance.now();
function say(text: string): void {
  console.info(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${text}`);
}

const wanted = process.argv.slice(2);
const rig = await openFaultRig();
const table: Record<string, unknown> = {};
try {
  for (const slot of SLOTS) await rig.start(slot);
  for (const [name, run] of Object.entries(stages)) {
    if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
    say(name);
    const figures = await run(rig);
    const faults = [...figures.faults, ...tooSlow(figures)];
    for (const fault of faults) say(`  FAULT ${fault}`);
    if (faults.length > 0) process.exitCode = 1;
    table[name] = {
      served: figures.served,
      refused: figures.refused,
      'slowest 503, ms': Math.round(figures.slowestRefusalMs),
      'streams whole': figures.streams,
      'both serve, ms': Math.round(figures.firstServedMs),
      'last hold ended, ms': Math.round(figures.lastHoldMs),
      faults: faults.length,
    };
  }
} finally {
  await rig.close();
}
console.table(table);
say(process.exitCode === 1 ? 'FAILED' : 'charged = served throughout, nothing held, the ledger verifies');
