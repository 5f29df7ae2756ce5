import fc from 'fast-check';
import { expect, it } from 'vitest';
import { assertUsage, COMPONENTS, INPUT_COMPONENTS, inputTokens, OUTPUT_COMPONENTS, outputTokens, type Usage } from './usage.ts';

it('counts each token component on one side only, and pieces on none', () => {
  const token = COMPONENTS.filter((component) => !component.startsWith('per_'));
  expect([...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS].sort()).toEqual([...token].sort());
  const usage: Usage = Object.fromEntries(COMPONENTS.map((component, index) => [component, 10 ** index]));
  expect(inputTokens(usage) + outputTokens(usage)).toBe(token.reduce((sum, component) => sum + (usage[component] ?? 0), 0));
});

it('takes an absent component as nothing in sums', () => {
  expect(inputTokens({ output: 5 })).toBe(0);
  expect(outputTokens({})).toBe(0);
});

it('accepts integers ≥ 0 and nothing else', () => {
  fc.assert(
    fc.property(fc.constantFrom(...COMPONENTS), fc.oneof(fc.maxSafeNat(), fc.double(), fc.integer()), (component, units) => {
      const good = Number.isSafeInteger(units) && units >= 0;
      const check = () => assertUsage({ [component]: units });
      if (good) expect(check).not.toThrow();
      else expect(check).toThrow(component);
    }),
  );
});
