/** Gateways over one database, for a host application with operations, plans and keys of its own. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ADMIN_KEY,
  CATALOG,
  closeWorld,
  createWorld,
  expectSettled,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const MEDIA = `
  media: { models: [plain], features: [image_generation, video_generation] }
  images: { models: [plain], features: [image_generation] }
operations:
  image: { credits: 20, feature: image_generation }
  video: { credits: 100, feature: video_generation }
  ping: { credits: 0.5 }
  free: { credits: 0 }
`;

export type Json = Record<string, unknown>;
export interface Answer {
  status: number;
  body: Json;
  headers: Headers;
}
export interface Customer {
  id: string;
  key: string;
}
type Ask = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

export interface HostRig {
  world: World;
  gateways: TestGateway[];
  /** A call of the admin API. */
  admin: Ask;
  /** Calls of the customer API with a key, through the n-th gateway. */
  as(key: string, nth?: number, headers?: Record<string, string>): Ask;
  /** An account with so many credits, and a key that may consume. */
  customer(credits: string, more?: { plan?: string; scopes?: string[]; budget?: Json }): Promise<Customer>;
  /** Nothing is held any more, the books hold together, and all is closed. */
  close(): Promise<void>;
}

/** Two gateways in this process. */
export async function startHost(): Promise<HostRig> {
  const world = await createWorld();
  writeFileSync(join(world.folder, 'catalog.yaml'), `${CATALOG.trimEnd()}${MEDIA}`);
  const first = await startGateway(world);
  const second = await startGateway({
    ...world,
    env: { ...world.env, TOLLGATE_DATA_DIR: join(world.folder, 'second') },
  });
  const gateways = [first, second];
  const call = async (url: string, method: string, key: string, body: unknown, headers = {}): Promise<Answer> => {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${key}`, ...type, ...headers },
      ...sent,
    });
    return { status: response.status, body: (await response.json()) as Json, headers: response.headers };
  };
  const admin: Ask = (method, path, body) => call(`${first.url}/admin/v1${path}`, method, ADMIN_KEY, body);
  let references = 0;
  return {
    world,
    gateways,
    admin,
    as:
      (key, nth = 0, always = {}) =>
      (method, path, body, headers) =>
        call(`${gateways[nth]!.url}/account/v1${path}`, method, key, body, { ...always, ...headers }),
    customer: async (credits, { plan = 'media', scopes = ['read', 'consume'], budget } = {}) => {
      const { body: account } = await admin('POST', '/accounts', { name: 'Test', plan });
      const { body: key } = await admin('POST', `/accounts/${account.id}/keys`, { scopes, ...(budget && { budget }) });
      if (credits !== '0') {
        const reference = `grant ${references++}`;
        await admin('POST', `/accounts/${account.id}/credits`, { credits, kind: 'topup', reference });
      }
      return { id: account.id as string, key: key.key as string };
    },
    close: async () => {
      for (const gateway of gateways) await gateway.close();
      await world.pool.query("SELECT ledger_expire_due(1000, now() + interval '2 days')");
      await expectSettled(world);
      await closeWorld(world);
    },
  };
}

/** The error of an answer: status, code and param. */
export function errorOf({ status, body }: Answer): string {
  const { code, param } = body.error as { code: string; param: string | null };
  return `${status} ${code}${param === null ? '' : ` ${param}`}`;
}
