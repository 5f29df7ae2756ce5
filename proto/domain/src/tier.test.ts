import { expect, it } from 'vitest';
import { type Ladder, nextTier } from './tier.ts';

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
