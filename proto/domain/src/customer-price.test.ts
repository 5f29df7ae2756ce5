import { expect, it } from 'vitest';
import { customerPrices } from './customer-price.ts';

it('shows each card with the markup on top, as exact decimals', () => {
  const cards = [
    { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_250_000_000n, output: 10_000_000_000n } },
    { serviceTier: 'priority', aboveInputTokens: 200_000, prices: { cached_input: 12_500_000n } },
  ] as const;
  expect(customerPrices(cards, 4_000)).toEqual([
    { service_tier: 'standard', above_input_tokens: 0, usd_per_million: { input: '1.75', output: '14.00' } },
    { service_tier: 'priority', above_input_tokens: 200_000, usd_per_million: { cached_input: '0.0175' } },
  ]);
});

it('shows the steps of a tier that follow from the standard ones, since they are charged', () => {
  const cards = [
    { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 4n } },
    { serviceTier: 'standard', aboveInputTokens: 9, prices: { input: 8n } },
    { serviceTier: 'flex', aboveInputTokens: 0, prices: { input: 2n } },
  ] as const;
  expect(customerPrices(cards, 0).at(-1)).toEqual({
    service_tier: 'flex',
    above_input_tokens: 9,
    usd_per_million: { input: '0.000000004' },
  });
});

it('rounds what is finer than a nano-dollar half to even', () => {
  const cards = [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 5n, output: 15n } }] as const;
  expect(customerPrices(cards, 1_000)[0]?.usd_per_million).toEqual({ input: '0.000000006', output: '0.000000016' });
});
