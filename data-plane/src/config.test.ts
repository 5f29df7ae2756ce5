import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.ts';

const HEX = 'ab'.repeat(32);
const ENV = {
  MERIDIAN_NODE_ID: 'us-1',
  MERIDIAN_REGION: 'us',
  MERIDIAN_DATA_FOLDER: '/data',
  MERIDIAN_PORT: '8080',
  MERIDIAN_HEALTH_PORT: '9090',
  MERIDIAN_CONTROL_GRPC: 'control:50051',
  MERIDIAN_CONTROL_URL: 'http://control:8081/',
  MERIDIAN_JOIN_TOKEN: 'sixteen-characters',
  MERIDIAN_KEY_PEPPER: HEX,
  MERIDIAN_SEALING_KEY: HEX,
};

describe('the settings of a node', () => {
  it('are read, with defaults for what is not given', () => {
    const config = loadConfig(ENV);
    expect(config).toMatchObject({
      nodeId: 'us-1',
      port: 8080,
      host: '127.0.0.1',
      keyPrefix: 'sk-mrd-',
      controlUrl: 'http://control:8081',
    });
    expect(config.keyPepper).toEqual(new Uint8Array(32).fill(0xab));
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('are refused with every problem at once', () => {
    const broken = {
      ...ENV,
      MERIDIAN_REGION: 'Not A Region',
      MERIDIAN_PORT: '70000',
      MERIDIAN_KEY_PEPPER: 'short',
      MERIDIAN_JOIN_TOKEN: undefined,
      MERIDIAN_REGION_URLS: 'us=nowhere',
    };
    let message = '';
    try {
      loadConfig(broken);
    } catch (error) {
      message = String(error);
    }
    for (const name of ['REGION', 'PORT', 'KEY_PEPPER', 'JOIN_TOKEN', 'REGION_URLS']) expect(message).toContain(`MERIDIAN_${name}:`);
    expect(message).not.toContain('MERIDIAN_NODE_ID');
  });

  it('that are empty are not given: no port 0, no listening on every interface', () => {
    expect(() => loadConfig({ ...ENV, MERIDIAN_PORT: '' })).toThrow(/MERIDIAN_PORT/);
    expect(loadConfig({ ...ENV, MERIDIAN_HOST: '', MERIDIAN_HEALTH_HOST: '' })).toMatchObject({
      host: '127.0.0.1',
      healthHost: '127.0.0.1',
    });
  });

  it('name the base URL of each region', () => {
    expect(loadConfig({ ...ENV, MERIDIAN_REGION_URLS: 'us=https://us.example.com,eu=https://eu.example.com?a=b' }).regionUrls).toEqual({
      us: 'https://us.example.com',
      eu: 'https://eu.example.com?a=b',
    });
  });
});
