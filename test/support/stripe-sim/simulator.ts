/** Puts the simulator together and starts it, in this process. */
import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { Api } from './api.ts';
import { billingRoutes } from './billing/routes.ts';
import { Control } from './control.ts';
import { Sim } from './core.ts';
import { Deliverer } from './delivery.ts';
import { httpServer } from './http.ts';
import { paymentRoutes } from './payment-routes.ts';
import { webhookRoutes } from './webhook-endpoints.ts';

export interface SimulatorOptions {
  /** A free port unless told. */
  port?: number;
  /** Decides every id and every chaos. Random unless told. */
  seed?: number;
  /** The mode that acts outside of API calls are in. Test mode unless told; API calls are in that of their key. */
  live?: boolean;
}

export interface Simulator {
  url: string;
  /** The secret of webhook endpoints made by `control.listen`. */
  secret: string;
  sim: Sim;
  api: Api;
  delivery: Deliverer;
  control: Control;
  close(): Promise<void>;
}

export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const sim = new Sim(options.seed);
  const delivery = new Deliverer(sim);
  const api = new Api(sim, delivery);
  const secret = `whsec_${createHash('sha256').update(`stripe-sim ${sim.seed}`).digest('hex').slice(0, 32)}`;
  const control = new Control({ sim, api, delivery, secret, livemode: options.live ?? false });
  webhookRoutes(sim, delivery);
  paymentRoutes(sim);
  billingRoutes(sim);

  const server = httpServer(api, delivery, (verb, args) => {
    const method: unknown = Reflect.get(control, verb);
    if (verb === 'constructor' || typeof method !== 'function') throw new Error(`there is no verb ${verb}`);
    return method.apply(control, args);
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    secret,
    sim,
    api,
    delivery,
    control,
    async close() {
      await delivery.idle();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
