import { describe, expect, it } from 'vitest';
import { isAuthHeader, isAuthPrefix } from './provider-auth.ts';

describe('a header that carries a secret', () => {
  it.each(['authorization', 'api-key', 'x-api-key', 'x-goog-api-key', 'ocp-apim-subscription-key'])('may be %s', (header) => {
    expect(isAuthHeader(header)).toBe(true);
  });

  it.each(['', 'API-Key', 'a b', 'a:b', 'a\r\nb', 'content-length', 'host', 'transfer-encoding', 'accept-encoding', 'x-request-id', '1x'])(
    'may not be %j',
    (header) => {
      expect(isAuthHeader(header)).toBe(false);
    },
  );

  it('has a prefix that cannot end its line', () => {
    expect(['', 'Bearer ', 'Api-Key '].map(isAuthPrefix)).toEqual([true, true, true]);
    expect(['a\r\n', 'ä', 'x'.repeat(33)].map(isAuthPrefix)).toEqual([false, false, false]);
  });
});
