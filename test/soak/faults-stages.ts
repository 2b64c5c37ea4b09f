/** What is done to the database and the gateways under load, and what came of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fate, POINTS, startWireProxy } from '../support/wire-proxy.ts';
import { SLOTS } from './faults-load.ts';
import type { FaultRig } from './faults-rig.ts';

/** How long all goes well before the fault, and how much longer than the outage the streams last. */
const WARM_MS = 500;
const STREAM_MORE_SECONDS = 1;
/** Answers that come while the database is away, and how long before it goes they are asked for. */
const ANSWER_SECONDS = 0.6;
const ASKED_MS = 300;
/** DESIGN says 2 s; the rest is for a machine that does everything at once. */
const REFUSED_WITHIN_MS = 2_500;

export interface Size {
  clients: number;
  streams: number;
}

export interface Outage {
  how: 'crash' | 'freeze';
  seconds: number;
  /** Done in the middle of it. */
  during?: (rig: FaultRig) => Promise<void>;
  /** Done as soon as the database is back. */
  after?: (rig: FaultRig) => Promise<void>;
}

export interface Figures {
  served: number;
  refused: number;
  slowestRefusalMs: number;
  /** Streams that went on through the fault to their end, of those that ran on a gateway that lived. */
  streams: string;
  /** From the return of the database until each gateway has served a request, and until the last hold from before has ended. */
  firstServedMs: number;
  lastHoldMs: number;
  faults: string[];
}

/** The database goes away under load, and comes back. */
export async function outage(rig: FaultRig, size: Size, { how, seconds, during, after }: Outage): Promise<Figures> {
  const { server, load } = rig;
  const strangers = await Promise.all(SLOTS.map((slot) => load.newClient(slot)));
  await begin(rig, size, seconds);
  if (how === 'crash') await server.crash();
  else server.freeze();
  for (const stranger of strangers) load.send(stranger, { stream: false, seconds: 0 });
  await sleep(seconds * 500);
  await during?.(rig);
  await sleep(seconds * 500);
  if (how === 'crash') await server.start();
  else server.thaw();
  const [served, ended] = [rig.allServe(), rig.holdsEnded()];
  await after?.(rig);
  const [firstServedMs, lastHoldMs] = await Promise.all([served, ended]);
  return { firstServedMs, lastHoldMs, ...(await conclude(rig)) };
}

/** The wire between the gateways and the database fails again and again, at random statements and points. */
export async function chaos(rig: FaultRig, size: Size, seconds: number): Promise<Figures> {
  const proxy = await startWireProxy(rig.world.database.url);
  for (const slot of SLOTS) {
    await rig.stop(slot);
    await rig.start(slot, { DATABASE_URL: proxy.url });
  }
  await begin(rig, size, seconds);
  const until = performance.now() + seconds * 1_000;
  while (performance.now() < until) {
    const point = POINTS[Math.floor(Math.random() * POINTS.length)]!;
    const fate: Fate = Math.random() < 0.7 ? 'cut' : 'freeze';
    await proxy.strike({ statement: /ledger_|SELECT/, point, fate });
    await sleep(Math.random() * 1_000);
  }
  const [firstServedMs, lastHoldMs] = await Promise.all([rig.allServe(), rig.holdsEnded()]);
  const rest = await conclude(rig);
  for (const slot of SLOTS) {
    await rig.stop(slot);
    await rig.start(slot);
  }
  await proxy.close();
  return { firstServedMs, lastHoldMs, ...rest };
}

async function begin({ load, allServe }: FaultRig, size: Size, seconds: number): Promise<void> {
  await load.start(size.clients);
  await allServe();
  const streamed = { stream: true, seconds: (WARM_MS + ASKED_MS) / 1_000 + seconds + STREAM_MORE_SECONDS };
  for (const slot of SLOTS)
    for (let i = 0; i < size.streams; i++) await load.send(await load.newClient(slot), streamed);
  await sleep(WARM_MS);
  const answered = { stream: false, seconds: ANSWER_SECONDS };
  for (const slot of SLOTS)
    for (let i = 0; i < size.clients; i++) await load.send(await load.newClient(slot), answered);
  await sleep(ASKED_MS);
}

/** Waits until all is over, and draws the balance. */
async function conclude(rig: FaultRig): Promise<Omit<Figures, 'firstServedMs' | 'lastHoldMs'>> {
  await rig.load.pause();
  const { sent } = rig.load;
  const refused = sent.filter(({ status }) => status === 503);
  const streams = sent.filter(({ stream, died }) => stream && !died);
  return {
    served: sent.filter(({ whole }) => whole).length,
    refused: refused.length,
    slowestRefusalMs: Math.max(0, ...refused.map(({ ms }) => ms)),
    streams: `${streams.filter(({ whole }) => whole).length} of ${streams.length}`,
    faults: await rig.faults(),
  };
}

/** Of a soak, where time is measured: refusals that came too late. */
export function tooSlow({ slowestRefusalMs }: Figures): string[] {
  return slowestRefusalMs > REFUSED_WITHIN_MS ? [`a refusal took ${Math.round(slowestRefusalMs)} ms`] : [];
}
