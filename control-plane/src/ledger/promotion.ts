/** The rules of promotions: what one gives, when, and how much in all. */
import { GatewayError } from '@meridian/domain/error';
import { MAX_BALANCE_NANO, type Nano } from '@meridian/domain/money';
import { bonusOf } from './purchase.ts';

/** The promotion that is given for a verified address. */
export const TRIAL_ID = 'trial';

export interface Promotion {
  /** The name that customers give. */
  readonly id: string;
  readonly kind: 'trial' | 'code';
  /** An amount at once, or a share of the purchase that is made with it. */
  readonly gives: { readonly amountNano: Nano } | { readonly basisPoints: number };
  readonly startsAtMs: number | undefined;
  readonly endsAtMs: number | undefined;
  /** What it may give to all accounts together. */
  readonly budgetNano: Nano | undefined;
  readonly givenNano: Nano;
  readonly active: boolean;
}

/** What an operator sets of a promotion. */
export type PromotionTerms = Omit<Promotion, 'kind' | 'givenNano'>;

/** Throws `invalid_request_error` for terms that make no sense. */
export function assertTerms({ id, gives, startsAtMs, endsAtMs, budgetNano }: PromotionTerms): void {
  const refuse = (message: string, param: string): never => {
    throw new GatewayError('invalid_request_error', { message, param });
  };
  if ('amountNano' in gives && (gives.amountNano <= 0n || gives.amountNano > MAX_BALANCE_NANO)) {
    refuse('The amount must be above zero and at most the largest balance.', 'amount_usd');
  }
  if (id === TRIAL_ID && !('amountNano' in gives)) refuse('The trial is an amount.', 'amount_usd');
  if (budgetNano !== undefined && (budgetNano < 0n || budgetNano > MAX_BALANCE_NANO)) {
    refuse('The budget must be at least zero and at most the largest balance.', 'budget_usd');
  }
  if (startsAtMs !== undefined && endsAtMs !== undefined && startsAtMs >= endsAtMs) {
    refuse('A promotion must start before it ends.', 'ends_at');
  }
}

/** What a promotion gives now: with a purchase of a price, or without one. Throws `invalid_state` when it gives nothing. */
export function givenNow(promotion: Promotion, nowMs: number, priceNano: Nano | undefined): Nano {
  const { active, startsAtMs = Number.NEGATIVE_INFINITY, endsAtMs = Number.POSITIVE_INFINITY, gives, budgetNano, givenNano } = promotion;
  if (!active || nowMs < startsAtMs || nowMs >= endsAtMs) throw refusal('The promotion is not running.');
  if ('basisPoints' in gives !== (priceNano !== undefined)) {
    throw refusal(
      priceNano === undefined
        ? 'The promotion is a share of a purchase: name it with one.'
        : 'The promotion is redeemed without a purchase.',
    );
  }
  const nano = 'amountNano' in gives ? gives.amountNano : bonusOf(priceNano ?? 0n, gives.basisPoints);
  if (nano === 0n) throw refusal('The purchase is too small for the promotion.');
  if (budgetNano !== undefined && givenNano + nano > budgetNano) throw refusal('The promotion is used up.');
  return nano;
}

function refusal(message: string): GatewayError {
  return new GatewayError('invalid_state', { message });
}
