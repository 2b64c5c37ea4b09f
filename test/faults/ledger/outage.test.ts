/**
 * P2 for two real gateways under load while their database fails: streams go on, every request is served and charged
 * exactly, or refused. The long ones, with all that is measured: `npm run soak:faults`.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type FaultRig, openFaultRig } from '../../soak/faults-rig.ts';
import { type Figures, type Outage, outage } from '../../soak/faults-stages.ts';

let rig: FaultRig;

beforeAll(async () => {
  rig = await openFaultRig();
  await Promise.all([rig.start('a'), rig.start('b')]);
});
afterAll(() => rig.close());

const under = (fault: Outage): Promise<Figures> => outage(rig, { clients: 2, streams: 1 }, fault);

it('Postgres crashes and comes back: charged is served, and nothing stays held', async () => {
  expect(await under({ how: 'crash', seconds: 1 })).toMatchObject({ streams: '2 of 2', faults: [] });
});

it('Postgres is frozen for a while: charged is served, and nothing stays held', async () => {
  expect(await under({ how: 'freeze', seconds: 1 })).toMatchObject({ streams: '2 of 2', faults: [] });
});

it('a gateway is killed while Postgres is away: what it had answered is charged exactly, the rest within bounds', async () => {
  const figures = await under({
    how: 'crash',
    seconds: 3.6,
    during: () => rig.kill('a'),
    after: () => rig.start('a'),
  });
  expect(figures).toMatchObject({ streams: '1 of 1', faults: [] });
});
