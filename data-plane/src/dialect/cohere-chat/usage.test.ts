import { expect, it } from 'vitest';
import { readUsage } from './usage.ts';

it('counts what is billed, not what went through the model', () => {
  const raw = { billed_units: { input_tokens: 25, output_tokens: 9 }, tokens: { input_tokens: 91, output_tokens: 11 }, cached_tokens: 48 };
  expect(readUsage(raw)).toEqual({ input: 25, output: 9 });
  expect(readUsage({ billed_units: { input_tokens: 4, image_tokens: 0 } })).toEqual({ input: 4 });
  expect(readUsage({ billed_units: { input_tokens: 4, image_tokens: 12 } })).toEqual({ input: 4, image_in: 12 });
});

it('counts what went through the model where nothing else is told', () => {
  expect(readUsage({ tokens: { input_tokens: 91, output_tokens: 11 }, cached_tokens: 48 })).toEqual({
    input: 43,
    cached_input: 48,
    output: 11,
  });
  expect(readUsage({})).toBeUndefined();
});
