/** All that this folder knows of Stripe but billing. */

import { catalogueRoutes } from './catalogue.ts';
import { chargeRoutes } from './charges.ts';
import type { Sim } from './core.ts';
import { couponRoutes } from './coupons.ts';
import { customerRoutes } from './customers.ts';
import { paymentIntentRoutes } from './payment-intent-routes.ts';
import { paymentMethodRoutes } from './payment-methods.ts';

export function paymentRoutes(sim: Sim): void {
  customerRoutes(sim);
  catalogueRoutes(sim);
  couponRoutes(sim);
  paymentMethodRoutes(sim);
  chargeRoutes(sim);
  paymentIntentRoutes(sim);
}
