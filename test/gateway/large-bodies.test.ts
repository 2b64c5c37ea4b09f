/** Sounds of 25 MB pass through a gateway of its own process: they are on the disk and not in its memory, and gone when they were sent. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  spawnGateway,
  type World,
} from '../support/gateway.ts';
import { held } from '../support/scripted-upstream.ts';
import { wav } from '../support/sounds.ts';
import { answer, HEARD } from './heard-rig.ts';

const UPLOADS = 4;
/** 25 MB. */
const SECONDS = 819;
/** In memory they would take 100 MB, and as much again to be sent: what is left of pieces until it is collected is less. */
const MOST_GROWTH_MB = 100;

let world: World;
let gateway: GatewayProcess;

beforeAll(async () => {
  world = await createWorld({}, '', HEARD);
  gateway = await spawnGateway(world);
});
afterAll(async () => {
  gateway.child.kill('SIGTERM');
  await gateway.exited;
  await closeWorld(world);
});

const proc = (path: string) => `/proc/${gateway.child.pid}/${path}`;
const megabytes = (field: string) =>
  Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync(proc('status'), 'utf8'))![1]) / 1024;
/** Files that it has open and that have no name any more. */
const spooled = () =>
  readdirSync(proc('fd')).filter((fd) => {
    try {
      return /upload-.*deleted/.test(readlinkSync(proc(`fd/${fd}`)));
    } catch {
      return false;
    }
  }).length;

it.runIf(process.platform === 'linux')(
  'four sounds of 25 MB at once: memory stays bounded, and no file is left',
  async () => {
    const account = await createTestAccount(world, '1000');
    const sound = wav(SECONDS);
    const send = () => {
      const body = new FormData();
      body.append('file', new Blob([sound]), 'long.wav');
      body.append('model', 'whisper-1');
      const headers = { authorization: `Bearer ${account.key}` };
      return fetch(`${gateway.url}/v1/audio/transcriptions`, { method: 'POST', headers, body });
    };
    // The first one brings what a process takes of memory for any: that is not meant here.
    world.upstream.script(answer({ text: 'Long.' }));
    await (await send()).text();
    world.upstream.script(held(answer({ text: 'Long.' })));
    const before = megabytes('VmRSS');
    // The peak from now on.
    writeFileSync(proc('clear_refs'), '5');
    const sent = Array.from({ length: UPLOADS }, send);
    await world.upstream.arrived(1 + UPLOADS);
    expect(spooled()).toBe(UPLOADS);
    world.upstream.release();
    for (const response of await Promise.all(sent)) expect(response.headers.get('x-tollgate-charged')).toBe('81.9');
    expect(world.upstream.requests.every(({ body }) => body.includes(sound))).toBe(true);
    expect(megabytes('VmHWM') - before).toBeLessThan(MOST_GROWTH_MB);
    await eventually(() => spooled() === 0, 'their files are gone');
    expect(await chargedTo(world, account.account)).toBe(BigInt(1 + UPLOADS) * 81_900_000_000n);
    await expectSettled(world);
  },
);
