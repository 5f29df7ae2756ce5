import { describe, expect, it } from 'vitest';
import { patience } from './patience.ts';

const SETTINGS = {
  upstreamConnectTimeoutMs: 5_000,
  upstreamFirstByteTimeoutMs: 60_000,
  upstreamIdleTimeoutMs: 60_000,
  upstreamTotalTimeoutMs: 1_800_000,
};

function firstByteMs(request: { stream?: boolean; operation?: string; maxOutputTokens?: number }, modelMax: number | undefined): number {
  return patience(SETTINGS, { stream: false, operation: 'chat', maxOutputTokens: undefined, ...request }, modelMax).firstByteMs;
}

describe('how long a provider may be silent', () => {
  it('is the setting for a stream and for embeddings', () => {
    expect(firstByteMs({ stream: true, maxOutputTokens: 100_000 }, 128_000)).toBe(60_000);
    expect(firstByteMs({ operation: 'embeddings' }, undefined)).toBe(60_000);
  });

  it('grows with what a whole answer may have, within ten minutes', () => {
    expect(firstByteMs({ maxOutputTokens: 50 }, 128_000)).toBe(61_000);
    expect(firstByteMs({ maxOutputTokens: 10_000 }, 128_000)).toBe(260_000);
    expect(firstByteMs({ maxOutputTokens: 100_000 }, 128_000)).toBe(600_000);
  });

  it('is about two minutes where the client set no limit', () => {
    expect(firstByteMs({}, 128_000)).toBe(141_920);
    expect(firstByteMs({}, undefined)).toBe(141_920);
    expect(firstByteMs({}, 1_000)).toBe(80_000);
  });
});
