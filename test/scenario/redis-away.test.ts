/**
 * The region's Redis is killed, stands still, sleeps, is full and is wiped while two nodes of the region are at work: nobody who keeps to
 * the limits is refused, and nobody gets far beyond them.
 */
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { noRedisServer, startTestRedis, type TestRedis } from '@meridian/data-plane/redis/testing';
import { launchNode } from '@meridian/local/launch';
import { textField } from '@meridian/local/operator';
import type { ManagedProcess } from '@meridian/local/process';
import { keyWorks } from '@meridian/local/provision';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePorts } from '../ports.ts';
import { until, World } from '../world/world.ts';

const SETUP_MS = 120_000;
/** Asks 8 times a second on each node: 960 a minute, of 6,000. */
const MODEST = { limitPerMinute: 6_000, clients: 2, pauseMs: 250 };
/** Asks as often as it can. */
const GREEDY = { limitPerMinute: 300, clients: 2, pauseMs: 10 };
const PHASE_MS = 1_000;
const NODES = 2;

interface Asked {
  readonly phase: string;
  readonly status: number;
  readonly ms: number;
}

describe.skipIf(noRedisServer !== undefined)(`without its Redis${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`, () => {
  let redis: TestRedis;
  let world: World;
  let second: ManagedProcess;
  let urls: readonly string[];

  beforeAll(async () => {
    redis = await startTestRedis();
    const nodeEnv = { MERIDIAN_REDIS_URL: redis.url };
    world = await World.start({ nodeEnv });
    const [port = 0] = await freePorts(1);
    second = await launchNode(world.common, {
      nodeId: 'node-us-2',
      region: 'us',
      folder: join(world.folder, 'us-2'),
      port,
      healthPort: 0,
      controlGrpcAddress: world.control.readyText('grpcAddress'),
      controlUrl: world.controlUrl,
      env: nodeEnv,
    });
    urls = [world.url('us'), `http://127.0.0.1:${port}`];
  }, SETUP_MS);
  afterAll(async () => {
    await second?.stop();
    await world?.stop();
    await redis?.stop();
  });

  async function newKey(name: string, requestsPerMinute: number): Promise<string> {
    const made = await world.account.post('/v1/keys', { name, rate_limits: { requests_per_minute: requestsPerMinute } });
    const key = textField(made, 'key');
    for (const url of urls) await until(() => keyWorks(url, key), 'the key to work');
    return key;
  }

  async function ask(url: string, key: string): Promise<number> {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-5-nano', max_tokens: 16, messages: [{ role: 'user', content: 'Go on. [[sim tokens=2]]' }] }),
    });
    await response.arrayBuffer();
    return response.status;
  }

  /** Keeps asking on all nodes until `stop`. */
  function work(
    key: string,
    { clients, pauseMs }: { clients: number; pauseMs: number },
    phase: () => string,
  ): { asked: Asked[]; stop(): Promise<void> } {
    const asked: Asked[] = [];
    let stopped = false;
    const running = urls.flatMap((url) =>
      Array.from({ length: clients }, async () => {
        while (!stopped) {
          const began = phase();
          const startedMs = performance.now();
          const status = await ask(url, key);
          asked.push({ phase: began, status, ms: performance.now() - startedMs });
          await new Promise((resolve) => setTimeout(resolve, pauseMs));
        }
      }),
    );
    return {
      asked,
      stop: async () => {
        stopped = true;
        await Promise.all(running);
      },
    };
  }

  const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const awayOn = async (region: 'us'): Promise<boolean> => (await world.gauge(region, 'meridian_redis_away')) === 1;

  it('serves whoever keeps to the limits, at once, and holds the others back', { timeout: 120_000 }, async () => {
    const keys = { modest: await newKey('modest', MODEST.limitPerMinute), greedy: await newKey('greedy', GREEDY.limitPerMinute) };
    await until(async () => !(await awayOn('us')), 'redis to be there');
    let phase = 'at rest';
    // Leases, connections and code are warm before anything is compared.
    for (const url of urls) for (const key of Object.values(keys)) expect(await ask(url, key)).toBe(200);
    const startedMs = performance.now();
    const modest = work(keys.modest, MODEST, () => phase);
    const greedy = work(keys.greedy, GREEDY, () => phase);
    const during = async (name: string, run: () => unknown): Promise<void> => {
      phase = name;
      await run();
      await pass(PHASE_MS);
    };
    try {
      await during('there', () => {});
      await during('killed', () => redis.kill());
      expect(await awayOn('us')).toBe(true);
      await during('back', () => redis.restart());
      await until(async () => !(await awayOn('us')), 'redis to be used again');
      await during('asleep', () => redis.sleep(1));
      await during('standing still', () => redis.pause());
      await during('going on', () => redis.resume());
      await until(async () => !(await awayOn('us')), 'redis to be used again');
      await during('full', () => redis.maxMemory(1));
      await during('with room', () => redis.maxMemory(0));
      await until(async () => !(await awayOn('us')), 'redis to be used again');
      await during('wiped', () => redis.flushAll());
    } finally {
      redis.resume();
      await Promise.all([modest.stop(), greedy.stop()]);
    }
    const minutes = (performance.now() - startedMs) / 60_000;
    report(modest.asked);

    // Nobody who kept to the limit was refused, whatever became of Redis, nor failed otherwise.
    expect(modest.asked.filter(({ status }) => status !== 200)).toEqual([]);
    expect(modest.asked.length).toBeGreaterThan(10);
    // The others were held back, and only so.
    expect(greedy.asked.filter(({ status }) => status !== 200 && status !== 429)).toEqual([]);
    const given = greedy.asked.filter(({ status }) => status === 200).length + NODES;
    const { limitPerMinute: limit } = GREEDY;
    const fair = limit + limit * minutes;
    console.log(
      `far beyond a limit of ${limit} a minute for ${(minutes * 60).toFixed(1)} s: ${greedy.asked.length} asked, ${given} served, ${((given / fair) * 100).toFixed(0)} % of a full bucket and what flows back (${fair.toFixed(0)})`,
    );
    // A bucket each before they have heard of each other, and a fifth more of what flows back while they could not.
    expect(given).toBeLessThanOrEqual(NODES * limit + 1.2 * limit * minutes);
    // Nor is the limit undercut, however slow the machine.
    expect(given).toBeGreaterThanOrEqual(0.5 * Math.min(limit, greedy.asked.length));
  });

  function report(asked: readonly Asked[]): void {
    for (const [phase, inPhase] of Map.groupBy(asked, (one) => one.phase)) {
      const sorted = inPhase.map(({ ms }) => ms).sort((a, b) => a - b);
      const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1);
      console.log(`redis ${phase}: ${inPhase.length} requests within their limits, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
    }
  }
});
