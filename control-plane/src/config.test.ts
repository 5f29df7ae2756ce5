import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.ts';

const GOOD = {
  DATABASE_URL: 'postgres://user:secret-password@localhost/meridian',
  MERIDIAN_ADMIN_TOKEN: 'admin-token-0123456789',
  MERIDIAN_JOIN_TOKEN: 'join-token-0123456789',
  MERIDIAN_JWT_SECRET: 'a1'.repeat(32),
  MERIDIAN_KEY_PEPPER: 'b2'.repeat(32),
  MERIDIAN_SEALING_KEY: 'c3'.repeat(32),
};

function problemsOf(env: Record<string, string | undefined>): string[] {
  try {
    loadConfig(env);
  } catch (error) {
    return String(error instanceof Error ? error.message : error)
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
}

describe('loadConfig', () => {
  it('fills in what has a default, reads hex, and is frozen', () => {
    const config = loadConfig({ ...GOOD, MERIDIAN_HTTP_PORT: '0', MERIDIAN_GRPC_PORT: '0', MERIDIAN_LOG_LEVEL: '' });
    expect(config).toMatchObject({ httpHost: '127.0.0.1', httpPort: 0, keyPrefix: 'sk-mrd-', logLevel: 'info', shutdownTimeoutMs: 10_000 });
    expect(config.keyPepper).toEqual(new Uint8Array(32).fill(0xb2));
    expect(config.catalogueFile).toMatch(/control-plane\/seed\/catalogue\.yaml$/);
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('lists every problem at once, each by its variable', () => {
    const problems = problemsOf({
      ...GOOD,
      DATABASE_URL: undefined,
      MERIDIAN_KEY_PEPPER: 'b2',
      MERIDIAN_JWT_SECRET: 'zz',
      MERIDIAN_HTTP_PORT: '70000',
    });
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'DATABASE_URL',
      'MERIDIAN_HTTP_PORT',
      'MERIDIAN_JWT_SECRET',
      'MERIDIAN_KEY_PEPPER',
    ]);
    expect(problems[0]).toBe('DATABASE_URL: is missing');
  });

  it('refuses settings that contradict each other', () => {
    const problems = problemsOf({
      ...GOOD,
      MERIDIAN_SEALING_KEY: GOOD.MERIDIAN_KEY_PEPPER,
      MERIDIAN_HTTP_PORT: '9000',
      MERIDIAN_HEALTH_PORT: '9000',
    });
    expect(problems).toEqual([
      'MERIDIAN_KEY_PEPPER and MERIDIAN_SEALING_KEY have the same value',
      'MERIDIAN_HTTP_PORT and MERIDIAN_HEALTH_PORT are the same port',
    ]);
  });

  it('names operators besides the first, and whose word is taken on addresses', () => {
    const plain = loadConfig(GOOD);
    expect(plain.operators).toEqual([{ name: 'admin', token: GOOD.MERIDIAN_ADMIN_TOKEN }]);
    expect(plain.trustedProxies).toEqual(['127.0.0.1/8', '::1/128']);
    const more = loadConfig({
      ...GOOD,
      MERIDIAN_OPERATOR_TOKENS: 'ada:token-of-ada-0123, ben.b:has:colons-0123456',
      MERIDIAN_TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.7,2001:db8::/32',
    });
    expect(more.operators.slice(1)).toEqual([
      { name: 'ada', token: 'token-of-ada-0123' },
      { name: 'ben.b', token: 'has:colons-0123456' },
    ]);
    expect(more.trustedProxies).toEqual(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32']);
  });

  it.each([
    ['MERIDIAN_OPERATOR_TOKENS', 'ada', /token of at least 16/],
    ['MERIDIAN_OPERATOR_TOKENS', 'ada:short', /token of at least 16/],
    ['MERIDIAN_OPERATOR_TOKENS', 'Ada:token-of-ada-0123', /lower-case/],
    ['MERIDIAN_OPERATOR_TOKENS', 'admin:token-of-ada-0123', /none of them admin/],
    ['MERIDIAN_OPERATOR_TOKENS', 'ada:token-of-ada-0123,ada:token-of-ada-4567', /each operator once/],
    ['MERIDIAN_OPERATOR_TOKENS', 'ada:token-of-ada-0123,ben:token-of-ada-0123', /another token/],
    ['MERIDIAN_OPERATOR_TOKENS', `ada:${GOOD.MERIDIAN_ADMIN_TOKEN}`, /and MERIDIAN_ADMIN_TOKEN have the same value/],
    ['MERIDIAN_TRUSTED_PROXIES', '10.0.0.0/33', /networks/],
    ['MERIDIAN_TRUSTED_PROXIES', 'everybody', /networks/],
  ])('refuses %s=%s', (name, value, problem) => {
    const [only, ...more] = problemsOf({ ...GOOD, [name]: value });
    expect([only, more]).toEqual([expect.stringMatching(problem), []]);
    expect(only).not.toContain('token-of-ada');
  });

  it('never shows a secret', () => {
    const text = problemsOf({ ...GOOD, MERIDIAN_JWT_SECRET: 'not-hex-secret', DATABASE_URL: 'mysql://user:secret-password@x' }).join();
    expect(text).not.toMatch(/not-hex-secret|secret-password/);
  });
});
