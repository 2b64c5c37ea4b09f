/** For tests that ask the same thousands of times: the database plans each text once for each connection. */
import type pg from 'pg';

const names = new Map<string, string>();

/** Has a connection prepare whatever is asked of it with values. */
export function preparing(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (...all: unknown[]) => unknown;
  const prepared = (text: unknown, values?: unknown, ...more: unknown[]): unknown => {
    if (typeof text !== 'string' || !Array.isArray(values)) return query(text, values, ...more);
    const name = names.get(text) ?? `test_${names.size}`;
    names.set(text, name);
    return query({ name, text, values }, ...more);
  };
  client.query = prepared as typeof client.query;
}

/** The same of all connections that a pool opens from now on. */
export function preparingPool(pool: pg.Pool): void {
  pool.on('connect', preparing);
}
