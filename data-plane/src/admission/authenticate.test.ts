import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { PEPPER, type Sketch, samplePicture } from '../control/testing.ts';
import { authenticate, presentedKey } from './authenticate.ts';

const SETTINGS = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: { eu: 'https://eu.api.example.com' } };

function outcome(sketch: Sketch, change: (key: string) => string | undefined = (key) => key): string | GatewayError {
  const { picture, apiKey } = samplePicture(sketch);
  try {
    return authenticate(picture, SETTINGS, change(apiKey), 10_000).account.id;
  } catch (thrown) {
    if (thrown instanceof GatewayError) return thrown;
    throw thrown;
  }
}

describe('authentication', () => {
  it('lets an active key in, with its account, plan and tier', () => {
    const { picture, apiKey } = samplePicture();
    expect(authenticate(picture, SETTINGS, apiKey, 0)).toMatchObject({
      key: { id: 'key_1' },
      account: { id: 'acc_1' },
      plan: { id: 'starter' },
      standing: { tier: { id: 'starter' } },
    });
  });

  it.each<[string, Sketch, ((key: string) => string | undefined) | undefined, string]>([
    ['none given', {}, () => undefined, 'invalid_api_key'],
    ['nonsense', {}, () => 'hello', 'invalid_api_key'],
    ['a wrong checksum', {}, (key) => key.slice(0, -1) + (key.endsWith('0') ? '1' : '0'), 'invalid_api_key'],
    ['unknown', { key: { hash: `01${'0'.repeat(64)}` } }, undefined, 'invalid_api_key'],
    ['revoked', { key: { status: 'revoked' } }, undefined, 'invalid_api_key'],
    ['expired this moment', { key: { expiresAtMs: 10_000 } }, undefined, 'invalid_api_key'],
    ['of a disabled account', { account: { status: 'disabled' } }, undefined, 'invalid_api_key'],
    ['of a disabled member', { member: { status: 'disabled' } }, undefined, 'invalid_api_key'],
    ['of a plan without access', { plan: { apiAccess: false } }, undefined, 'insufficient_tier'],
    ['bound to another region', { key: { allowedRegions: ['eu'] } }, undefined, 'wrong_region'],
  ])('refuses a key that is %s', (_, sketch, change, code) => {
    expect(outcome(sketch, change)).toMatchObject({ code });
  });

  it('names the right base URL to a key in the wrong region', () => {
    expect(outcome({ key: { allowedRegions: ['eu'] } })).toMatchObject({
      status: 403,
      details: { regions: [{ region: 'eu', base_url: 'https://eu.api.example.com' }] },
    });
  });

  it('lets a key in until the moment it expires, and in each of its regions', () => {
    expect(outcome({ key: { expiresAtMs: 10_001, allowedRegions: ['eu', 'us'] } })).toBe('acc_1');
  });

  it('finds the key in the header of each SDK', () => {
    expect(presentedKey({ authorization: 'Bearer abc' })).toBe('abc');
    expect(presentedKey({ authorization: 'bearer  abc ' })).toBe('abc');
    expect(presentedKey({ 'x-api-key': 'abc' })).toBe('abc');
    expect(presentedKey({ 'x-goog-api-key': 'abc' })).toBe('abc');
    expect(presentedKey({})).toBeUndefined();
    expect(presentedKey({ authorization: 'Basic abc' })).toBe('');
  });
});
