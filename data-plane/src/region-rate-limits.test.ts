/** Rate limits that the nodes of a region share through its Redis, and what they do without it. */
import { performance } from 'node:perf_hooks';
import type { RateLimits } from '@meridian/domain/rate-limit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RateLimited, RateLimiter, type RatePermit } from './admission/rate-limit.ts';
import { connectRegionRedis, type RegionRedis } from './redis/client.ts';
import { RateCounters } from './redis/rate-counters.ts';
import { noRedisServer, startTestRedis, type TestRedis } from './redis/testing.ts';

const NODES = 2;
const WITHIN_MS = 15_000;

describe.skipIf(noRedisServer !== undefined)(`two nodes of a region${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`, () => {
  let server: TestRedis;
  let keys = 0;
  const redises: RegionRedis[] = [];
  const limiters: RateLimiter[] = [];
  const nowMs = (): number => Math.floor(performance.now());

  beforeAll(async () => {
    server = await startTestRedis();
  });
  afterEach(() => {
    for (const limiter of limiters.splice(0)) limiter.close();
    for (const redis of redises.splice(0)) redis.close();
  });
  afterAll(() => server.stop());

  async function node(name: string): Promise<RateLimiter> {
    const redis = connectRegionRedis({ url: server.url, log: { info: () => {}, warn: () => {} }, nowMs, random: Math.random });
    redises.push(redis);
    await until(() => !redis.away);
    const limiter = new RateLimiter({ counters: new RateCounters({ redis, region: 'us', node: name }), nowMs, regionNodes: () => NODES });
    limiters.push(limiter);
    return limiter;
  }

  async function until(condition: () => boolean): Promise<void> {
    const end = Date.now() + WITHIN_MS;
    while (!condition()) {
      if (Date.now() > end) throw new Error('it did not come about');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  const newKey = (rateLimits: RateLimits): RateLimited => ({ key: { id: `key_${++keys}` }, plan: { rateLimits } });
  /** Undefined where it was refused. */
  function enter(limiter: RateLimiter, who: RateLimited): RatePermit | undefined {
    const permit = limiter.enter(who);
    return permit?.refusal === undefined ? permit : undefined;
  }
  /** How many are let in until one is refused. */
  function drain(limiter: RateLimiter, who: RateLimited, most = 10_000): number {
    let given = 0;
    for (let permit = enter(limiter, who); permit !== undefined && given < most; permit = enter(limiter, who)) {
      given++;
      permit.release();
    }
    return given;
  }

  it('hear what the other one has taken, so that a limit is used up once', async () => {
    const [a, b] = [await node('a'), await node('b')];
    const who = newKey({ requestsPerMinute: 40 });
    expect(drain(a, who)).toBe(40);
    // The other one does not know yet, and learns it by its first question.
    let more = 0;
    await until(() => {
      const permit = enter(b, who);
      if (permit !== undefined) more++;
      permit?.release();
      return permit === undefined;
    });
    expect(more).toBeLessThanOrEqual(40);
    const headers = b.enter(who)?.headers() ?? [];
    expect(headers[3]).toBe('0');
  });

  it('count together those who are under way, and hear when they end', async () => {
    const [a, b] = [await node('c'), await node('d')];
    const who = newKey({ concurrency: 3 });
    const held = [enter(a, who), enter(a, who), enter(a, who)];
    expect(held.every((permit) => permit !== undefined)).toBe(true);
    await until(() => {
      const permit = enter(b, who);
      permit?.release();
      return permit === undefined;
    });
    // As long as they last, longer than a silent node is believed.
    const endMs = performance.now() + 3_500;
    for (let atMs = performance.now(); atMs < endMs; ) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const permit = enter(b, who);
      permit?.release();
      // On a machine that halts for long, Redis counts as away, or what it said as old.
      const isHeard = b.share === 1 && performance.now() - atMs < 500 && redises.every((redis) => !redis.away);
      if (isHeard) expect(permit).toBeUndefined();
      atMs = performance.now();
    }
    for (const permit of held) permit?.release();
    await until(() => {
      const permit = enter(b, who);
      permit?.release();
      return permit !== undefined;
    });
  });

  it('forget what a node had under way that has died', async () => {
    const [a, b] = [await node('e'), await node('f')];
    const who = newKey({ concurrency: 1 });
    enter(a, who);
    await until(() => {
      const permit = enter(b, who);
      permit?.release();
      return permit === undefined;
    });
    a.close();
    await until(() => {
      const permit = enter(b, who);
      permit?.release();
      return permit !== undefined;
    });
  });

  it('keep to a share each while Redis is away, and to the whole when it is back, without a debt of that time', async () => {
    const [a, b] = [await node('g'), await node('h')];
    const who = newKey({ requestsPerMinute: 600_000 });
    enter(a, who)?.release();
    enter(b, who)?.release();
    await server.kill();
    try {
      await until(() => a.share < 1 && b.share < 1);
      expect([a.share, b.share]).toEqual([0.6, 0.6]);
      // Each takes all of its share, and what flows back of it.
      for (let round = 0; round < 5; round++) {
        for (const limiter of [a, b]) drain(limiter, who, 400_000);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      await server.restart();
    }
    await until(() => {
      for (const limiter of [a, b]) enter(limiter, who)?.release();
      return a.share === 1 && b.share === 1;
    });
    // What each was missing of its share is all that it brought: there is something again at once.
    await until(() => enter(a, who) !== undefined && enter(b, who) !== undefined);
    const level = await server.admin((redis) => redis.hget(`mrd:rate:us:{${who.key.id}}:buckets`, 'r|level'));
    expect(Number(level)).toBeGreaterThan(-0.05 * 600_000 * 60_000);
  });
});
