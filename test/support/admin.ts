/** Calls of the admin API of a gateway that listens. */
import { ADMIN_KEY } from './gateway.ts';

export type Json = Record<string, unknown>;

/** The body of the answer. Throws with it when the call is refused. */
export async function admin(gateway: { url: string }, method: string, path: string, body?: Json): Promise<Json> {
  const response = await fetch(`${gateway.url}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as Json;
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}
