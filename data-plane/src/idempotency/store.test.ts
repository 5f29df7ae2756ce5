/** Both stores against the same sequences of commands, with a real Redis. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectRegionRedis, type RegionRedis } from '../redis/client.ts';
import { noRedisServer, startTestRedis, type TestRedis } from '../redis/testing.ts';
import { MemoryStore } from './memory-store.ts';
import type { Claim, Kept } from './record.ts';
import { RedisStore } from './redis-store.ts';

const by = (owner: string, fingerprint = 'f1'): Claim => ({ owner, fingerprint, requestId: `req_${owner}`, accountId: 'acc_1' });
const BYTES = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
const ANSWER: Kept = { kind: 'answer', sealed: BYTES };
const DAY_MS = 86_400_000;

describe.skipIf(noRedisServer !== undefined)(`the store in Redis${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`, () => {
  let server: TestRedis;
  let client: RegionRedis;
  let store: RedisStore;
  beforeAll(async () => {
    server = await startTestRedis();
    client = connectRegionRedis({
      url: server.url,
      log: { info: () => {}, warn: () => {} },
      nowMs: () => performance.now(),
      random: Math.random,
    });
    store = new RedisStore(client);
    const end = Date.now() + 15_000;
    while (client.away) {
      if (Date.now() > end) throw new Error('redis is not there');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
  afterAll(async () => {
    client?.close();
    await server?.stop();
  });

  /** As if so much time had passed for a key. */
  const pass = (name: string, ms: number): Promise<unknown> =>
    server.admin(async (redis) => {
      const leftMs = await redis.pttl(name);
      if (leftMs >= 0) await redis.pexpire(name, Math.max(0, leftMs - ms));
    });

  it('does as the store in the process does, command for command', async () => {
    const owner = fc.constantFrom('a', 'b');
    const step = fc.oneof(
      fc.record({ act: fc.constant('claim' as const), owner, fingerprint: fc.constantFrom('f1', 'f1', 'f2') }),
      fc.record({ act: fc.constant('settle' as const), owner }),
      fc.record({
        act: fc.constant('keep' as const),
        owner,
        kept: fc.constantFrom(ANSWER, { kind: 'receipt', reason: 'too_large' } as const),
      }),
      fc.record({ act: fc.constant('release' as const), owner }),
      // Far from sums at which a state ends, so that what Redis takes itself changes nothing.
      fc.record({ act: fc.constant('pass' as const), ms: fc.constantFrom(6_000, 12_000, DAY_MS) }),
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const name = `t:${run++}`;
        let nowMs = 0;
        const memory = new MemoryStore(() => nowMs);
        const begunMs = Date.now();
        for (const one of steps) {
          if (one.act === 'pass') {
            nowMs += one.ms;
            await pass(name, one.ms);
            continue;
          }
          const [expected, found] = await Promise.all(
            [memory, store].map((each): Promise<unknown> => {
              switch (one.act) {
                case 'claim':
                  return each.claim(name, by(one.owner, one.fingerprint));
                case 'settle':
                  return each.settle(name, by(one.owner));
                case 'keep':
                  return each.keep(name, by(one.owner), one.kept);
                case 'release':
                  return each.release(name, one.owner);
                default:
                  return one satisfies never;
              }
            }),
          );
          // Time that passed by itself is not in the other's clock.
          if (Date.now() - begunMs > 1_500) return;
          expect(found).toEqual(expected);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('knows its scripts again after the server was started anew', async () => {
    expect(await store.claim('s', by('a'))).toEqual({ kind: 'claimed' });
    await server.kill();
    await server.restart();
    const end = Date.now() + 15_000;
    for (;;) {
      const finding = await store.claim('s', by('b')).catch(() => undefined);
      if (finding !== undefined) {
        expect(finding).toEqual({ kind: 'claimed' });
        return;
      }
      if (Date.now() > end) throw new Error('it did not come back');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('lets every record expire', async () => {
    await store.claim('r1', by('a'));
    await store.settle('r2', by('a'));
    await store.keep('r3', by('a'), ANSWER);
    const left = await server.admin((redis) => Promise.all(['r1', 'r2', 'r3'].map((name) => redis.pttl(name))));
    expect(left[0]).toBeGreaterThan(0);
    expect(left[0]).toBeLessThanOrEqual(15_000);
    for (const ms of left.slice(1)) {
      expect(ms).toBeGreaterThan(DAY_MS - 60_000);
      expect(ms).toBeLessThanOrEqual(DAY_MS);
    }
  });
});
