import { expect, it } from 'vitest';
import { usdToNano } from './money.ts';
import { isAboveUnchargedCeiling, LEAST_UNCHARGED_CEILING_NANO, unchargedCeilingNano } from './uncharged-ceiling.ts';

it('is one dollar, or 2 % of the spend where that is more', () => {
  expect(unchargedCeilingNano(0n)).toBe(LEAST_UNCHARGED_CEILING_NANO);
  expect(unchargedCeilingNano(usdToNano('50'))).toBe(usdToNano('1'));
  expect(unchargedCeilingNano(usdToNano('50') + 50n)).toBe(usdToNano('1') + 1n);
  expect(unchargedCeilingNano(usdToNano('1000'))).toBe(usdToNano('20'));
});

it('is passed until the moment that is told, and never where none is', () => {
  expect(isAboveUnchargedCeiling({}, 0)).toBe(false);
  expect(isAboveUnchargedCeiling({ unchargedCeilingUntilMs: 1_000 }, 999)).toBe(true);
  expect(isAboveUnchargedCeiling({ unchargedCeilingUntilMs: 1_000 }, 1_000)).toBe(false);
});
