/** Request + candidates → reservation: whether the account can pay for the dearest way this request can go. */
import { GatewayError } from '@meridian/domain/error';
import { maxCost } from '@meridian/domain/max-cost';
import { type Nano, nanoToUsd } from '@meridian/domain/money';
import type { ListPrice, ServiceTier } from '@meridian/domain/price';
import type { LeaseAmount } from '@meridian/domain/usage-record';
import type { Principal } from './authenticate.ts';

/** What the request may consume at most, read from its body and its plan. */
export interface Demand {
  readonly inputTokens: number;
  /** For all choices together. */
  readonly outputTokens: number;
  readonly serviceTier: ServiceTier;
  /** One for each planned model. */
  readonly prices: readonly ListPrice[];
}

export interface Reservation {
  readonly maxCostNano: Nano;
  readonly leases: readonly LeaseAmount[];
}

/** Charges that the balance in the account's entry does not show yet. */
export interface UnackedCharges {
  unackedChargeNano(accountId: string): Nano;
}

/** Throws GatewayError 402 `insufficient_credits` when the prepaid balance, less this node's own unacknowledged charges, is used up. */
export function admit(principal: Principal, demand: Demand, charges: UnackedCharges): Reservation {
  const { account, standing } = principal;
  const leftNano = account.balanceNano - charges.unackedChargeNano(account.id);
  if (leftNano <= 0n) {
    throw new GatewayError('insufficient_credits', {
      details: {
        scope: 'account',
        window: 'prepaid',
        left_usd: nanoToUsd(leftNano),
        balance_as_of: new Date(account.asOfMs).toISOString(),
      },
    });
  }
  return { maxCostNano: maxCost(demand, standing.tier.markupBasisPoints), leases: [] };
}
