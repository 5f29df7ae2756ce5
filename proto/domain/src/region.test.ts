import { expect, it } from 'vitest';
import { isRegion } from './region.ts';

it.each(['us', 'eu', 'sg', 'ap-southeast-1', 'a1', 'a234567890123456'])('%j is a region', (text) => expect(isRegion(text)).toBe(true));
it.each(['', 'u', 'US', '1a', 'a_b', 'a.b', 'us ', 'a2345678901234567', 'us\n'])('%j is none', (text) =>
  expect(isRegion(text)).toBe(false),
);
