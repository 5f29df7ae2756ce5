import { describe, expect, it } from 'vitest';
import { authenticate } from '../admission/authenticate.ts';
import { PEPPER, samplePicture } from '../control/testing.ts';
import { me } from './me.ts';

describe('/v1/me', () => {
  it('tells the balance less what is not reported yet, the tier, and what is missing to the next', () => {
    const { picture, apiKey } = samplePicture({ account: { asOfMs: Date.UTC(2026, 0, 2) } });
    const settings = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
    const principal = authenticate(picture, settings, apiKey, 2_000);
    expect(me(picture, principal, 1_500_000_000n, 'us')).toMatchObject({
      account: { id: 'acc_1', status: 'active' },
      key: { id: 'key_1' },
      region: 'us',
      tier: {
        id: 'starter',
        markup_percent: 40,
        next: { id: 'growth', markup_percent: 30, missing_usd: expect.stringMatching(/^50(\.0+)?$/) },
      },
      balance: {
        balance_nano: '3500000000',
        balance_usd: expect.stringMatching(/^3\.50*$/),
        as_of: '2026-01-02T00:00:00.000Z',
        unreported_usd: expect.stringMatching(/^1\.50*$/),
      },
    });
    const top = {
      ...principal,
      standing: { tier: { id: 'growth', name: 'Growth', fromSpendNano: 1n, markupBasisPoints: 3000 }, spend30dNano: 9n },
    };
    expect(me(picture, top, 0n, 'us')).toMatchObject({ tier: { next: null } });
  });
});
