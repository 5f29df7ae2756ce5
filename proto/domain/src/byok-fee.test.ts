import fc from 'fast-check';
import { expect, it } from 'vitest';
import { byokFee, byokTokenFee } from './byok-fee.ts';
import { usdToNano } from './money.ts';
import { INPUT_COMPONENTS, OUTPUT_COMPONENTS, type Usage } from './usage.ts';

it('is 0.50 USD for a million tokens of any kind', () => {
  expect(byokTokenFee(1_000_000)).toBe(usdToNano('0.50'));
  for (const component of [...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS]) {
    expect([component, byokFee({ [component]: 1_000_000 }, undefined)]).toEqual([component, usdToNano('0.50')]);
  }
});

it('counts all tokens together, whatever they are, and no pieces', () => {
  const tokens = fc.nat(10_000_000);
  const usage: fc.Arbitrary<Usage> = fc.dictionary(
    fc.constantFrom(...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS, 'cached_input:audio' as const),
    tokens,
  );
  fc.assert(
    fc.property(usage, fc.nat(50), (used, pieces) => {
      const sum = Object.values(used).reduce((all: number, units) => all + (units ?? 0), 0);
      expect(byokFee({ ...used, per_tool_call: pieces, per_image: pieces }, undefined)).toBe(500n * BigInt(sum));
    }),
  );
});

it('is the fee of the plan for media, whatever they used', () => {
  const media = { requestFeeNano: usdToNano('0.01') };
  expect(byokFee({ per_image: 4 }, media)).toBe(usdToNano('0.01'));
  expect(byokFee({ input: 1_000_000, image_out: 9 }, media)).toBe(usdToNano('0.01'));
});
