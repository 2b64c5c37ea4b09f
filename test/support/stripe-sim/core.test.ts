import { expect, test, vi } from 'vitest';
import { Sim, type Stored } from './core.ts';
import { StripeFault } from './fault.ts';
import { decode } from './params.ts';

interface Thing extends Stored {
  created: number;
  owner: string | null;
  deep: { owner: string };
}

function world(): { sim: Sim; get: (path: string, query?: string) => Record<string, unknown> } {
  const sim = new Sim(1);
  sim.link('thing', 'owner', 'owner');
  sim.link('thing', 'deep.owner', 'owner');
  sim.route('GET', '/v1/things', (call) => call.sim.list(call, 'thing'));
  sim.route('GET', '/v1/things/:id', (call) => call.sim.get('thing', call.params.id ?? ''));
  sim.put({ id: 'own_1', object: 'owner' });
  for (let number = 1; number <= 5; number += 1) {
    sim.put<Thing>({ id: `t_${number}`, object: 'thing', created: number, owner: 'own_1', deep: { owner: 'own_1' } });
  }
  return { sim, get: (path, query = '') => sim.dispatch('GET', path, '', query, null) as Record<string, unknown> };
}

test('a list is newest first, in pages that meet', () => {
  const { get } = world();
  const ids = (query: string) => (get('/v1/things', query).data as Thing[]).map(({ id }) => id);
  expect(ids('limit=2')).toEqual(['t_5', 't_4']);
  expect(ids('limit=2&starting_after=t_4')).toEqual(['t_3', 't_2']);
  expect(ids('limit=2&ending_before=t_2')).toEqual(['t_4', 't_3']);
  expect(ids('created[gte]=2&created[lt]=4')).toEqual(['t_3', 't_2']);
  expect(get('/v1/things', 'limit=5').has_more).toBe(false);
  expect(get('/v1/things', 'limit=4').has_more).toBe(true);
});

test('ids expand to objects, in nested hashes and in lists, and what is kept stays as it was', () => {
  const { sim, get } = world();
  expect(get('/v1/things/t_1', 'expand[0]=deep.owner').deep).toEqual({ owner: { id: 'own_1', object: 'owner' } });
  const page = get('/v1/things', 'limit=1&expand[]=data.owner');
  expect((page.data as Thing[])[0]?.owner).toEqual({ id: 'own_1', object: 'owner' });
  expect(sim.get<Thing>('thing', 't_5').owner).toBe('own_1');
  expect(() => get('/v1/things/t_1', 'expand[]=created')).toThrow(/cannot be expanded/);
});

test('what is not there is a 404 by path and a 400 by parameter', () => {
  const { sim, get } = world();
  expect(() => get('/v1/things/t_9')).toThrow(expect.objectContaining({ status: 404, code: 'resource_missing' }));
  expect(() => sim.get('thing', 't_9', 'thing')).toThrow(expect.objectContaining({ status: 400, param: 'thing' }));
  expect(() => get('/v1/nothing')).toThrow(StripeFault);
});

test('an advance stops at each due instant, in order', () => {
  const { sim } = world();
  const start = sim.now();
  const due = [start + 30, start + 10];
  const seen: number[] = [];
  sim.dueAt(() => (due.length === 0 ? null : Math.min(...due)));
  sim.onAdvance(() => {
    seen.push(sim.now() - start);
    for (const at of due.filter((instant) => instant <= sim.now())) due.splice(due.indexOf(at), 1);
  });
  sim.advance(100);
  expect(seen).toEqual([10, 30, 100]);
});

test('a snapshot brings back objects, what modules remember, the clock and the ids to come', () => {
  const { sim } = world();
  sim.side<number>('count').set('a', 1);
  const saved = sim.snapshot();
  const next = sim.id('x');
  sim.advance(1000);
  sim.side<number>('count').set('a', 2);
  sim.get<Thing>('thing', 't_1').owner = null;
  sim.restore(saved);
  expect(sim.id('x')).toBe(next);
  expect(sim.side<number>('count').get('a')).toBe(1);
  expect(sim.get<Thing>('thing', 't_1').owner).toBe('own_1');
  expect(Math.abs(sim.now() - Date.now() / 1000)).toBeLessThan(100);
});

test('all that one call does happens at one instant, and the clock runs on after it', () => {
  const { sim } = world();
  vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
  try {
    const origin = { livemode: false, request: { id: null, idempotency_key: null } };
    sim.as(origin, () => {
      const begun = sim.now();
      vi.setSystemTime(1_005_000);
      expect(sim.now()).toBe(begun);
    });
    expect(sim.now()).toBe(1005);
  } finally {
    vi.useRealTimers();
  }
});

test('a change gives back what it replaced, and only that', () => {
  const { sim } = world();
  const thing = sim.get<Thing>('thing', 't_1');
  expect(sim.change(thing, { owner: null, created: 1 })).toEqual({ owner: 'own_1' });
  expect(sim.emit('thing.updated', thing, { owner: 'own_1' }).data).toEqual({
    object: thing,
    previous_attributes: { owner: 'own_1' },
  });
});

test('nested parameters decode into hashes and lists, metadata into a hash always', () => {
  expect(decode('items[0][price]=p&items[1][price]=q&metadata[0]=z&e[]=1&e[]=2&x=')).toEqual({
    items: [{ price: 'p' }, { price: 'q' }],
    metadata: { 0: 'z' },
    e: ['1', '2'],
    x: '',
  });
});
