/** Changes that wait for one another leave the database to everyone else. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRig, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

it('while twelve changes of one account wait for a lock, others are read and changed; then all twelve are made', async () => {
  const ids: string[] = [];
  for (const name of ['locked', 'other']) ids.push((await rig.admin('POST', '/accounts', { name })).body.id as string);
  const [locked, other] = ids as [string, string];
  const holder = await rig.database.pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`audit ${locked}`]);
  const changes = Array.from({ length: 12 }, (_, i) => rig.admin('PATCH', `/accounts/${locked}`, { name: `new ${i}` }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await rig.admin('GET', `/accounts/${other}/balance`)).status).toBe(200);
  await holder.query('ROLLBACK');
  holder.release();
  expect((await Promise.all(changes)).map(({ status }) => status)).toEqual(Array(12).fill(200));
});

it('a change that would wait for a lock too long is answered 503, to be tried again, and changes nothing', async () => {
  const { body } = await rig.admin('POST', '/accounts', { name: 'stuck' });
  const holder = await rig.database.pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`audit ${body.id}`]);
  const { status, body: refusal } = await rig.admin('PATCH', `/accounts/${body.id}`, { name: 'other' });
  await holder.query('ROLLBACK');
  holder.release();
  expect([status, (refusal.error as { code: string }).code]).toEqual([503, 'overloaded']);
  expect((await rig.admin('GET', `/accounts/${body.id}`)).body.name).toBe('stuck');
});
