import { describe, expect, it } from 'vitest';
import { networkOf } from './trail.ts';

describe('the network of an address', () => {
  it.each([
    ['203.0.113.77', '203.0.113.0/24'],
    ['::ffff:203.0.113.77', '203.0.113.0/24'],
    ['2001:db8:85a3:8d3:1319:8a2e:370:7348', '2001:db8:85a3::/48'],
    ['2001:0DB8::1', '2001:db8:0::/48'],
    ['fe80::1%eth0', 'fe80:0:0::/48'],
    ['::1', '0:0:0::/48'],
    ['2001:db8::', '2001:db8:0::/48'],
    ['64:ff9b::192.0.2.33', '64:ff9b:0::/48'],
    ['', 'unknown'],
    ['999.1.1.1', 'unknown'],
    ['a person', 'unknown'],
  ])('of %s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it('is the same for all hosts in it, and never holds the host', () => {
    for (let host = 1; host < 255; host++) expect(networkOf(`198.51.100.${host}`)).toBe('198.51.100.0/24');
  });
});
