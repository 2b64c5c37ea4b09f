/** All that this folder knows of Stripe but billing. */
import { catalogueRoutes } from './catalogue.ts';
import { chargeRoutes } from './charges.ts';
import { checkoutRoutes } from './checkout.ts';
import type { Sim } from './core.ts';
import { couponRoutes } from './coupons.ts';
import { customerRoutes } from './customers.ts';
import { disputeRoutes } from './disputes.ts';
import { paymentIntentRoutes } from './payment-intent-routes.ts';
import { paymentMethodRoutes } from './payment-methods.ts';
import { portalRoutes } from './portal.ts';
import { refundRoutes } from './refunds.ts';
import { setupIntentRoutes } from './setup-intents.ts';

export function paymentRoutes(sim: Sim): void {
  customerRoutes(sim);
  paymentMethodRoutes(sim);
  catalogueRoutes(sim);
  couponRoutes(sim);
  chargeRoutes(sim);
  paymentIntentRoutes(sim);
  setupIntentRoutes(sim);
  checkoutRoutes(sim);
  refundRoutes(sim);
  disputeRoutes(sim);
  portalRoutes(sim);
}
