import { expect, it } from 'vitest';
import { RateGate } from './rate-gate.ts';
import { durationText, rateHeaders } from './rate-headers.ts';

it('times are written as the SDKs read them', () => {
  expect([0, 1, 120, 1_000, 1_500, 59_999, 60_000, 360_000, 90_001].map(durationText)).toEqual([
    ...['0s', '1ms', '120ms', '1s', '1.5s', '59.999s', '1m0s', '6m0s', '1m31s'],
  ]);
});

it('of a key and a model the one with less left is told', () => {
  const whole = new RateGate({ requestsPerMinute: 60, tokensPerMinute: 6_000 }, 0, 0);
  const model = new RateGate({ requestsPerMinute: 10 }, 0, 0);
  for (const gate of [whole, model]) {
    expect(gate.refusal(0, 1)).toBeUndefined();
    gate.enter();
  }
  whole.tokens?.take(3_000);
  expect(rateHeaders([whole, model], 0, 1)).toEqual([
    ...['x-ratelimit-limit-requests', '10', 'x-ratelimit-remaining-requests', '9', 'x-ratelimit-reset-requests', '6s'],
    ...['x-ratelimit-limit-tokens', '6000', 'x-ratelimit-remaining-tokens', '3000', 'x-ratelimit-reset-tokens', '30s'],
  ]);
  expect(rateHeaders([new RateGate({ concurrency: 1 }, 0, 0), undefined], 0, 1)).toEqual([]);
});
