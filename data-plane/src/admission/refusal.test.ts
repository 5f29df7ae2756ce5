import { describe, expect, it } from 'vitest';
import { type Estimate, estimate } from './estimate.ts';
import type { BudgetAmount, Refusal } from './grants.ts';
import { refusalError } from './refusal.ts';

const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } }],
} as const;
const NOON = Date.UTC(2026, 1, 28, 12);
const DAY = Date.UTC(2026, 1, 28);
const MONTH = Date.UTC(2026, 1, 1);

function terms(operation: 'chat' | 'embeddings', choices = 1): Estimate {
  const asked = {
    operation,
    maxOutputTokens: operation === 'chat' ? 1_000 : undefined,
    choices,
    serviceTier: 'standard',
    // 100,000 with what vendors put before a chat.
    inputTokensBound: 99_232,
    readsBeyondBody: false,
    unbounded: undefined,
    takesOutputLimit: false,
    images: 0,
  } as const;
  const ways = { listPrice: PRICE, candidates: [{ model: { contextTokens: 1, maxOutputTokens: 1 }, listPrice: PRICE }] };
  return estimate(asked, ways, 0, () => ({ free: 0, inFlight: 0 }));
}

function exhausted(short: Partial<BudgetAmount>, left: number, limit: number): Refusal {
  const budget = { capId: 'cap_1', windowStartMs: DAY };
  return {
    kind: 'exhausted',
    short: { budget, scope: 'key', window: 'utc_day', unit: 'nano_usd', amount: 104_000_000, ...short },
    left,
    grantable: left,
    limit,
  };
}

describe('a refusal', () => {
  it('by a cap in money is 402 with what is left, what would fit and until when', () => {
    const error = refusalError(exhausted({}, 102_000_000, 5_000_000_000), terms('chat'), NOON);
    expect(error).toMatchObject({ status: 402, code: 'budget_exceeded', retryable: false });
    expect(error.message).toBe(
      'The daily cap of $5.00 of this API key has $0.102 left until 2026-03-01T00:00:00.000Z, and this request can cost up to $0.104; with an output limit of at most 500 tokens it would fit.',
    );
    expect(error.details).toEqual({
      scope: 'key',
      window: 'utc_day',
      limit_usd: '5.00',
      left_usd: '0.102',
      required_usd: '0.104',
      max_tokens: 500,
      resets_at: '2026-03-01T00:00:00.000Z',
    });
  });

  it('divides what is left by the choices, and says where nothing would fit', () => {
    const two = { ...terms('chat', 2) };
    expect(refusalError(exhausted({}, 102_000_000, 5_000_000_000), two, NOON).details).toMatchObject({ max_tokens: 250 });
    const none = refusalError(exhausted({ scope: 'member' }, 100_000_000, 5_000_000_000), terms('chat'), NOON);
    expect(none.details).toMatchObject({ scope: 'member', max_tokens: 0 });
    expect(none.message).toContain('would not fit with any output limit');
  });

  it('by a monthly cap names the month and its end', () => {
    const short = { scope: 'account', window: 'utc_month', budget: { capId: 'cap_2', windowStartMs: MONTH } } as const;
    const error = refusalError(exhausted(short, 0, 0), terms('chat'), NOON);
    expect(error.message).toMatch(/^The monthly cap of \$0\.00 of this account has \$0\.00 left until 2026-03-01T00:00:00\.000Z/);
    expect(error.details).toMatchObject({ window: 'utc_month', resets_at: '2026-03-01T00:00:00.000Z' });
  });

  it('by prepaid credit is 402 insufficient_credits and ends with no window', () => {
    const short = { scope: 'account', window: 'prepaid', budget: { capId: 'prepaid_acc_1', windowStartMs: 0 } } as const;
    const error = refusalError(exhausted(short, 1, 10_000_000_000), terms('chat'), NOON);
    expect(error).toMatchObject({ status: 402, code: 'insufficient_credits' });
    expect(error.message).toMatch(/^The prepaid credit of this account has \$0\.000000001 left, and this request can cost up to \$0\.104;/);
    expect(error.details).toEqual({
      scope: 'account',
      window: 'prepaid',
      left_usd: '0.000000001',
      required_usd: '0.104',
      max_tokens: 0,
    });
  });

  it('of embeddings tells of no max_tokens', () => {
    const error = refusalError(exhausted({}, 0, 5), terms('embeddings'), NOON);
    expect(error.details).not.toHaveProperty('max_tokens');
    expect(error.message).not.toContain('max_tokens');
  });

  it('by a count is 429 until the window ends', () => {
    const short = { scope: 'member', unit: 'images', amount: 4 } as const;
    const error = refusalError(exhausted(short, 3, 200), terms('chat'), NOON);
    expect(error).toMatchObject({ status: 429, code: 'daily_limit_exceeded', retryable: false, retryAfterSeconds: 12 * 3600 });
    expect(error.message).toBe(
      'The daily limit of 200 images of the member who made this API key has 3 left until 2026-03-01T00:00:00.000Z, and this request needs 4.',
    );
    expect(error.details).toEqual({
      scope: 'member',
      window: 'utc_day',
      unit: 'images',
      limit: 200,
      left: 3,
      resets_at: '2026-03-01T00:00:00.000Z',
    });
    expect(refusalError(exhausted(short, 0, 200), terms('chat'), DAY + 86_399_999).retryAfterSeconds).toBe(1);
  });

  it.each(['nano_usd', 'chat_completions'] as const)(
    'by a window in %s that ended meanwhile is 503, to be tried in the next one',
    (unit) => {
      const error = refusalError(exhausted({ unit }, 0, 200), terms('chat'), DAY + 86_400_000);
      expect(error).toMatchObject({ status: 503, code: 'budget_unavailable', retryable: true, retryAfterSeconds: 1 });
    },
  );

  it('that nobody could decide is 503 with a short wait, and keeps its cause to itself', () => {
    const { short } = exhausted({}, 0, 0);
    const error = refusalError({ kind: 'unavailable', short, reason: 'not connected' }, terms('chat'), NOON);
    expect(error).toMatchObject({ status: 503, code: 'budget_unavailable', retryable: true, retryAfterSeconds: 1, cause: 'not connected' });
    expect(error.message).not.toContain('connected');
  });
});
