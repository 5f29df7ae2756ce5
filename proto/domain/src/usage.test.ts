import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assertUsage,
  COMPONENTS,
  componentOf,
  INPUT_COMPONENTS,
  inputTokens,
  isMeter,
  metersOf,
  OUTPUT_COMPONENTS,
  outputTokens,
  type Usage,
  unitsOf,
} from './usage.ts';

it('counts each token component on one side only, and pieces on none', () => {
  const token = COMPONENTS.filter((component) => !component.startsWith('per_'));
  expect([...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS].sort()).toEqual([...token].sort());
  const usage: Usage = Object.fromEntries(COMPONENTS.map((component, index) => [component, 10 ** index]));
  expect(inputTokens(usage) + outputTokens(usage)).toBe(token.reduce((sum, component) => sum + (usage[component] ?? 0), 0));
});

it('names components in their own order, however they were written', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([...COMPONENTS]), (named) => {
      const usage: Usage = Object.fromEntries(named.map((component, index) => [component, index]));
      expect(metersOf(usage)).toEqual(COMPONENTS.filter((component) => named.includes(component)));
    }),
  );
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

describe('a meter', () => {
  it.each(['input', 'per_image:1024x1024:high', 'per_second:1080p', 'cached_input:audio', 'per_tool_call:web_search'])(
    'can be %s',
    (text) => {
      expect(isMeter(text)).toBe(true);
      expect(() => assertUsage({ [text]: 1 })).not.toThrow();
    },
  );

  it.each([
    '',
    'inputs',
    ':',
    'input:',
    ':audio',
    'input::x',
    'input:X',
    'input: x',
    'input:x:',
    'toString',
    `per_image:${'x'.repeat(60)}`,
  ])('cannot be %j', (text) => {
    expect(isMeter(text)).toBe(false);
    expect(() => assertUsage({ [text]: 1 })).toThrow(RangeError);
  });

  it('belongs to the component before its first colon', () => {
    expect([componentOf('input'), componentOf('per_image:1024x1024:high')]).toEqual(['input', 'per_image']);
  });
});

it('lists components in their order and variants after them by name, whatever order they were written in', () => {
  expect(
    metersOf({ 'per_second:720p': 0, 'cached_input:image': 2, 'cached_input:audio': 1, output: 3, input: undefined, per_second: 4 }),
  ).toEqual(['output', 'per_second', 'cached_input:audio', 'cached_input:image', 'per_second:720p']);
});

it('counts variants with their component, and no other', () => {
  const usage: Usage = { cached_input: 1, 'cached_input:audio': 10, 'per_image:1024x1024:high': 3, 'audio_out:wav': 100, output: 1_000 };
  expect([inputTokens(usage), outputTokens(usage)]).toEqual([11, 1_100]);
  expect([unitsOf(usage, 'cached_input'), unitsOf(usage, 'per_image'), unitsOf(usage, 'input')]).toEqual([11, 3, 0]);
});
