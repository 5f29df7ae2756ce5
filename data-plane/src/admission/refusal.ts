/** Why the leases gave nothing → the error that tells the client what is left, what would fit, and until when. */
import type { BudgetUnit, CapScope } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import { nanoToUsd } from '@meridian/domain/money';
import { nextWindowStartMs } from '@meridian/domain/window';
import { type Estimate, fittingLimit } from './estimate.ts';
import type { BudgetAmount, Refusal } from './grants.ts';

const RETRY_UNAVAILABLE_SECONDS = 1;

const SCOPES: Readonly<Record<CapScope, string>> = {
  key: 'this API key',
  member: 'the member who made this API key',
  account: 'this account',
};

const COUNTED: Readonly<Record<Exclude<BudgetUnit, 'nano_usd'>, string>> = { chat_completions: 'chat completions', images: 'images' };

/**
 * 402 for money (`insufficient_credits` for prepaid credit, `budget_exceeded` for a cap), 429 `daily_limit_exceeded` for
 * a count with the time until its window ends, 503 `budget_unavailable` where nobody could say, or where the window has ended
 * while the request waited: what it had left says nothing of the one that has begun. The first three are not to be retried as
 * they are.
 */
export function refusalError(refusal: Refusal, terms: Estimate, nowMs: number): GatewayError {
  if (refusal.kind === 'unavailable') {
    return new GatewayError('budget_unavailable', { retryAfterSeconds: RETRY_UNAVAILABLE_SECONDS, cause: refusal.reason });
  }
  const { short, left, limit } = refusal;
  const { unit } = short;
  if (nowMs >= (nextWindowStartMs(short.window, short.budget.windowStartMs) ?? Number.POSITIVE_INFINITY)) {
    return new GatewayError('budget_unavailable', { retryAfterSeconds: RETRY_UNAVAILABLE_SECONDS, cause: 'the window ended meanwhile' });
  }
  return unit === 'nano_usd' ? moneyError(short, left, limit, terms) : countError(short, COUNTED[unit], left, limit, nowMs);
}

function moneyError(short: BudgetAmount, left: number, limit: number, terms: Estimate): GatewayError {
  const leftNano = BigInt(left);
  const generates = terms.maxOutputTokens > 0;
  const fits = fittingLimit(terms, leftNano);
  const resetsAt = endOf(short);
  const isPrepaid = short.window === 'prepaid';
  const [limitUsd, leftUsd, requiredUsd] = [BigInt(limit), leftNano, terms.maxCostNano].map(nanoToUsd);
  const what = isPrepaid
    ? `The prepaid credit of ${SCOPES[short.scope]} has $${leftUsd} left`
    : `The ${periodOf(short)} cap of $${limitUsd} of ${SCOPES[short.scope]} has $${leftUsd} left until ${resetsAt}`;
  const advice = !generates
    ? ''
    : fits > 0
      ? `; with an output limit of at most ${fits} tokens it would fit`
      : '; it would not fit with any output limit';
  return new GatewayError(isPrepaid ? 'insufficient_credits' : 'budget_exceeded', {
    message: `${what}, and this request can cost up to $${requiredUsd}${advice}.`,
    details: {
      scope: short.scope,
      window: short.window,
      // The limit of prepaid credit is all that was ever paid in: nothing that a client could take for its balance.
      ...(isPrepaid ? {} : { limit_usd: limitUsd }),
      left_usd: leftUsd,
      required_usd: requiredUsd,
      ...(generates ? { max_tokens: fits } : {}),
      ...(resetsAt === undefined ? {} : { resets_at: resetsAt }),
    },
  });
}

function countError(short: BudgetAmount, counted: string, left: number, limit: number, nowMs: number): GatewayError {
  const resetsAt = endOf(short);
  const endMs = nextWindowStartMs(short.window, short.budget.windowStartMs) ?? nowMs;
  return new GatewayError('daily_limit_exceeded', {
    message: `The ${periodOf(short)} limit of ${limit} ${counted} of ${SCOPES[short.scope]} has ${left} left until ${resetsAt}, and this request needs ${short.amount}.`,
    retryAfterSeconds: Math.ceil((endMs - nowMs) / 1000),
    details: { scope: short.scope, window: short.window, unit: short.unit, limit, left, resets_at: resetsAt },
  });
}

function periodOf(short: BudgetAmount): string {
  return short.window === 'utc_month' ? 'monthly' : 'daily';
}

/** When the budget's window ends (RFC 3339); undefined for prepaid credit. */
function endOf({ window, budget }: BudgetAmount): string | undefined {
  const endMs = nextWindowStartMs(window, budget.windowStartMs);
  return endMs === undefined ? undefined : new Date(endMs).toISOString();
}
