import { expect, it } from 'vitest';
import type { RateCard } from './price.ts';
import { rate } from './rating.ts';
import { tierCards } from './tier-cards.ts';

const CARDS: RateCard[] = [
  { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 3n, output: 100n, 'per_image:1024x1024': 40n } },
  { serviceTier: 'standard', aboveInputTokens: 200_000, prices: { input: 5n } },
  { serviceTier: 'priority', aboveInputTokens: 0, prices: { input: 9n } },
];

it('makes a card for each standard one, each price at the percentage, half to even', () => {
  expect(tierCards(CARDS, 'batch', 50)).toEqual([
    { serviceTier: 'batch', aboveInputTokens: 0, prices: { input: 2n, output: 50n, 'per_image:1024x1024': 20n } },
    { serviceTier: 'batch', aboveInputTokens: 200_000, prices: { input: 2n } },
  ]);
});

it('takes the place of the usual multiplier', () => {
  const rated = (cards: readonly RateCard[]) =>
    rate({ output: 1_000_000 }, cards, { serviceTier: 'batch', markupBasisPoints: 0 }).amountNano;
  expect([rated(CARDS), rated([...CARDS, ...tierCards(CARDS, 'batch', 75)])]).toEqual([50n, 75n]);
});
