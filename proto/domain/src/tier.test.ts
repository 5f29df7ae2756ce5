import { expect, it } from 'vitest';
import { type Ladder, missingToTier, nextTier, spendAtFirstTier, tierAtSpend } from './tier.ts';

const ladder: Ladder = [
  { id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 4_000 },
  { id: 'growth', name: 'Growth', fromSpendNano: 50_000_000_000n, markupBasisPoints: 3_000 },
];

it('names the tier above, and none at the top or for a tier the ladder does not know', () => {
  expect(nextTier(ladder, 'starter')?.id).toBe('growth');
  expect(nextTier(ladder, 'growth')).toBeUndefined();
  expect(nextTier(ladder, 'gold')).toBeUndefined();
  expect(nextTier([], 'starter')).toBeUndefined();
});

it('is reached at its threshold to the nano-dollar', () => {
  expect([0n, 49_999_999_999n, 50_000_000_000n, 10n ** 18n].map((spend) => tierAtSpend(ladder, spend).id)).toEqual([
    'starter',
    'starter',
    'growth',
    'growth',
  ]);
  expect(() => tierAtSpend([], 0n)).toThrow('spend 0');
});

it('measures spend at the first tier’s markup, rounded once, half to even', () => {
  expect([10n, 1n, 2n, 10n ** 18n].map((list) => spendAtFirstTier(ladder, list))).toEqual([14n, 1n, 3n, 14n * 10n ** 17n]);
  const odd: Ladder = [{ id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 5_000 }];
  expect([1n, 3n].map((list) => spendAtFirstTier(odd, list))).toEqual([2n, 4n]);
});

it('has nothing missing where it is reached', () => {
  const [, growth] = ladder;
  if (growth === undefined) throw new Error('the ladder has two tiers');
  expect([0n, 49_000_000_000n, 50_000_000_000n, 60_000_000_000n].map((spend) => missingToTier(growth, spend))).toEqual([
    50_000_000_000n,
    1_000_000_000n,
    0n,
    0n,
  ]);
});
