import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectRegionRedis, type RegionRedis } from './client.ts';
import { type CountedKey, type CountedStanding, RateCounters } from './rate-counters.ts';
import { noRedisServer, startTestRedis, type TestRedis } from './testing.ts';

const UNITS = 60_000;
/** What flows back while a test runs: a limit of 1 a minute has no whole token in less than a minute. */
const SLOW = { limit: 1, level: UNITS };

describe.skipIf(noRedisServer !== undefined)(`rates counted in Redis${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`, () => {
  let server: TestRedis;
  let redis: RegionRedis;
  let keys = 0;
  beforeAll(async () => {
    server = await startTestRedis();
    redis = connectRegionRedis({
      url: server.url,
      log: { info: () => {}, warn: () => {} },
      nowMs: () => performance.now(),
      random: Math.random,
    });
    const until = Date.now() + 15_000;
    while (redis.away && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
  });
  afterAll(async () => {
    redis.close();
    await server.stop();
  });

  const node = (name: string): RateCounters => new RateCounters({ redis, region: 'us', node: name });
  /** A loaded machine may be late once. */
  const shared = async (counters: RateCounters, key: CountedKey): Promise<CountedStanding | undefined> => {
    for (let attempt = 0; ; attempt++) {
      try {
        return (await counters.share([key]))[0];
      } catch (error) {
        if (attempt === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const newKey = (): string => `key_${++keys}`;

  it('sum what the nodes have taken of a bucket, below nothing as well', async () => {
    const keyId = newKey();
    const bucket = (taken: number) => [{ name: 'r', ...SLOW, taken: taken * UNITS }];
    const first = await shared(node('a'), { keyId, seq: 1, buckets: bucket(1), running: [] });
    expect(first?.levels[0]).toBe(0);
    const second = await shared(node('b'), { keyId, seq: 1, buckets: bucket(2), running: [] });
    expect(second?.levels[0]).toBeLessThanOrEqual(-1 * UNITS);
    const given = await shared(node('b'), { keyId, seq: 2, buckets: bucket(-2), running: [] });
    expect(given?.levels[0]).toBeGreaterThanOrEqual(0);
    expect(given?.levels[0]).toBeLessThan(UNITS);
  });

  it('count once what is told again under its number', async () => {
    const keyId = newKey();
    const key: CountedKey = { keyId, seq: 7, buckets: [{ name: 'r', limit: 1, level: UNITS, taken: UNITS }], running: [] };
    await shared(node('a'), key);
    const again = await shared(node('a'), key);
    expect(again?.levels[0]).toBeGreaterThanOrEqual(0);
    const older = await shared(node('a'), { ...key, seq: 6 });
    expect(older?.levels[0]).toBeGreaterThanOrEqual(0);
    const newer = await shared(node('a'), { ...key, seq: 8 });
    expect(newer?.levels[0]).toBeLessThan(0);
    // Another node has numbers of its own.
    const other = await shared(node('b'), { ...key, seq: 1 });
    expect(other?.levels[0]).toBeLessThan(-UNITS);
  });

  it('give back with time, up to the limit', async () => {
    const keyId = newKey();
    const limit = 60_000;
    const told = (seq: number, taken: number) =>
      shared(node('a'), { keyId, seq, buckets: [{ name: 't', limit, level: limit * UNITS, taken }], running: [] });
    const before = (await told(1, limit * UNITS))?.levels[0] ?? Number.NaN;
    await new Promise((resolve) => setTimeout(resolve, 30));
    const after = (await told(2, 0))?.levels[0] ?? Number.NaN;
    // A token a millisecond.
    expect((after - before) / UNITS).toBeGreaterThanOrEqual(25);
    const refunded = await told(3, -limit * UNITS * 5);
    expect(refunded?.levels[0]).toBe(limit * UNITS);
  });

  it('hold the largest limits exactly', async () => {
    const keyId = newKey();
    const limit = 2 ** 32 - 1;
    const key = (seq: number, taken: number): CountedKey => ({
      keyId,
      seq,
      buckets: [{ name: 't', limit, level: limit * UNITS, taken }],
      running: [],
    });
    await shared(node('a'), key(1, limit * UNITS * 3 + 1));
    const { rows } = await server.admin(async (admin) => ({ rows: await admin.hgetall(`mrd:rate:us:{${keyId}}:buckets`) }));
    expect(rows['t|level']).toBe(String(-2 * limit * UNITS - 1));
  });

  it('begin where the node stands when nothing is known any more', async () => {
    const keyId = newKey();
    const told = (seq: number, level: number) =>
      shared(node('a'), { keyId, seq, buckets: [{ name: 'r', limit: 1, level: level * UNITS, taken: 0 }], running: [] });
    expect((await told(1, 0))?.levels[0]).toBe(0);
    // What is known counts, not what a node says.
    expect((await told(2, 1))?.levels[0]).toBeLessThan(UNITS);
    await server.flushAll();
    expect((await told(3, -4))?.levels[0]).toBe(-4 * UNITS);
  });

  it('follow a changed limit without forgetting what was taken', async () => {
    const keyId = newKey();
    const told = (seq: number, limit: number, taken: number) =>
      shared(node('a'), { keyId, seq, buckets: [{ name: 'r', limit, level: limit * UNITS, taken: taken * UNITS }], running: [] });
    await told(1, 10, 8);
    expect(((await told(2, 5, 0))?.levels[0] ?? 0) / UNITS).toBeCloseTo(-3, 0);
    expect(((await told(3, 20, 0))?.levels[0] ?? 0) / UNITS).toBeCloseTo(12, 0);
  });

  it('tell each node what the others have under way, by name, and not what one has that is silent', async () => {
    const keyId = newKey();
    const told = (name: string, seq: number, count: number) =>
      shared(node(name), {
        ...{ keyId, seq, buckets: [] },
        running: [
          { name: 'c', count },
          { name: 'c/vendor|model', count: 1 },
        ],
      });
    expect((await told('a', 1, 3))?.elsewhere).toEqual([0, 0]);
    expect((await told('b', 1, 4))?.elsewhere).toEqual([3, 1]);
    expect((await told('a', 2, 0))?.elsewhere).toEqual([4, 1]);
    expect((await told('c', 1, 0))?.elsewhere).toEqual([4, 2]);
    // As if the second had said so long ago.
    const hash = `mrd:rate:us:{${keyId}}:running`;
    await server.admin((admin) => admin.hset(hash, 'c|b', '4@1'));
    expect((await told('c', 2, 0))?.elsewhere).toEqual([0, 2]);
    expect(await server.admin((admin) => admin.hexists(hash, 'c|b'))).toBe(0);
  });

  it('leave nothing behind for ever', async () => {
    const keyId = newKey();
    await shared(node('a'), { keyId, seq: 1, buckets: [{ name: 'r', ...SLOW, taken: 0 }], running: [{ name: 'c', count: 1 }] });
    for (const hash of ['buckets', 'running']) {
      const ttl = await server.admin((admin) => admin.pttl(`mrd:rate:us:{${keyId}}:${hash}`));
      expect(ttl).toBeGreaterThan(600_000);
      expect(ttl).toBeLessThanOrEqual(660_000);
    }
  });
});
