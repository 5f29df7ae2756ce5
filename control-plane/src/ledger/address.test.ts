import { describe, expect, it } from 'vitest';
import { addressHash, normaliseAddress } from './address.ts';

describe('an e-mail address', () => {
  it.each([
    ['Jane.Doe@Example.COM', 'jane.doe@example.com'],
    ['  jane@example.com\t', 'jane@example.com'],
    ['jane+trial2@example.com', 'jane@example.com'],
    ['jane+a+b@example.com', 'jane@example.com'],
    ['+jane@example.com', '+jane@example.com'],
    ['j.a.n.e+x@gmail.com', 'jane@gmail.com'],
    ['jane@googlemail.com', 'jane@gmail.com'],
    ['jane@gmail.com.', 'jane@gmail.com'],
    ['ｊａｎｅ@example.com', 'jane@example.com'],
    ['jane@ｅxample.com', 'jane@example.com'],
    ['jane@bücher.example', 'jane@xn--bcher-kva.example'],
    ['jane@xn--bcher-kva.example', 'jane@xn--bcher-kva.example'],
    ['JANE@BÜCHER.example', 'jane@xn--bcher-kva.example'],
    ['"a@b"@example.com', '"a@b"@example.com'],
  ])('%s is %s', (address, normalised) => {
    expect(normaliseAddress(address)).toBe(normalised);
  });

  it.each([
    '',
    'jane',
    '@example.com',
    'jane@',
    'jane@localhost',
    'ja ne@example.com',
    'ja\u200bne@example.com',
    'jane@exa mple.com',
    `${'x'.repeat(260)}@example.com`,
  ])('is not %j', (address) => {
    expect(() => normaliseAddress(address)).toThrow('no e-mail address');
  });

  it('is kept as a hash that only the key can make', () => {
    const of = (key: number, address: string) => addressHash(new Uint8Array(32).fill(key), address).toString('hex');
    expect(of(1, 'a@example.com')).toMatch(/^[0-9a-f]{64}$/);
    expect(new Set([of(1, 'a@example.com'), of(1, 'a@example.com'), of(2, 'a@example.com'), of(1, 'b@example.com')]).size).toBe(3);
  });
});
