import { describe, expect, it } from 'vitest';
import { PEPPER, samplePicture } from '../control/testing.ts';
import { admit } from './admit.ts';
import { authenticate } from './authenticate.ts';

const SETTINGS = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } }],
} as const;
const DEMAND = { inputTokens: 1000, outputTokens: 100, serviceTier: 'standard', prices: [PRICE] } as const;

function admitted(balanceNano: bigint, unackedNano: bigint) {
  const { picture, apiKey } = samplePicture({ account: { balanceNano } });
  return admit(authenticate(picture, SETTINGS, apiKey, 0), DEMAND, { unackedChargeNano: () => unackedNano });
}

describe('admission', () => {
  it('reserves the dearest way the request can go, with the markup', () => {
    expect(admitted(1n, 0n)).toEqual({ maxCostNano: 1_960_000n, leases: [] });
  });

  it.each([
    [0n, 0n],
    [-5n, 0n],
    [1_000n, 1_000n],
    [1_000n, 2_000n],
  ])('refuses when a balance of %s less %s that is not reported leaves nothing', (balance, unacked) => {
    expect(() => admitted(balance, unacked)).toThrowError(expect.objectContaining({ code: 'insufficient_credits', status: 402 }));
  });

  it('admits on the last nano-dollar', () => {
    expect(admitted(1_001n, 1_000n).maxCostNano).toBeGreaterThan(0n);
  });
});
