/** The use cases of credit, put together for whoever serves them. */
import { type CorrectionDependencies, type Corrections, createCorrections } from './corrections.ts';
import { createDisputes, type Disputes } from './disputes.ts';
import { createPromotions, type PromotionDependencies, type Promotions } from './promotions.ts';
import { createPurchases, type Purchases } from './purchases.ts';
import { createRefunds, type Refunds } from './refunds.ts';

export interface CreditServices {
  readonly purchases: Purchases;
  readonly promotions: Promotions;
  readonly refunds: Refunds;
  readonly disputes: Disputes;
  readonly corrections: Corrections;
}

export function createCreditServices(dependencies: PromotionDependencies & CorrectionDependencies): CreditServices {
  return {
    purchases: createPurchases(dependencies),
    promotions: createPromotions(dependencies),
    refunds: createRefunds(dependencies),
    disputes: createDisputes(dependencies),
    corrections: createCorrections(dependencies),
  };
}
