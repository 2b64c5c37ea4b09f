/** Random secrets that all gateways of one installation share, in its database. */
import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';

const SECRET_BYTES = 32;

/** The secret of that name, made at the first call: the same for every gateway, and for ever. */
export async function installationSecret(pool: Pool, name: string): Promise<Buffer> {
  const found = await readSecret(pool, name);
  if (found !== undefined) return found;
  // Several gateways may start at once: one of them makes it, and all of them read what is there.
  await pool.query('INSERT INTO installation_secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    name,
    randomBytes(SECRET_BYTES),
  ]);
  return (await readSecret(pool, name))!;
}

async function readSecret(pool: Pool, name: string): Promise<Buffer | undefined> {
  const { rows } = await pool.query<{ secret: Buffer }>('SELECT secret FROM installation_secrets WHERE name = $1', [
    name,
  ]);
  return rows[0]?.secret;
}
