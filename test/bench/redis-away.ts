/**
 * What rate limiting adds to a request while the region's Redis is there, killed, slow and back: the same node serves a key with limits
 * (far above what is asked) and one without, in turns, so that a noisy minute falls on both alike. Medians over the rounds.
 *
 *   node test/bench/redis-away.ts [--seconds 3] [--rounds 5] [--connections 8]
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { noRedisServer, startTestRedis } from '@meridian/data-plane/redis/testing';
import { startDelayingProxy } from './delaying-proxy.ts';
import { type RunningGateway, startGateway } from './gateway.ts';
import type { Measured } from './load.ts';
import { measure, median } from './measure.ts';
import { LOAD_CORE, PROXY_CORE, pin, startNode, stop } from './target.ts';

const SLOW_MS = 50;
const WARM_UP_MS = 500;
/** Before anything is measured: what runs on Node is compiled by then. */
const FIRST_WARM_UP_MS = 4_000;
/** A breaker looks again after a pause, a connection is made anew after another. */
const SETTLES_WITHIN_MS = 10_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '8' },
  },
});
const [seconds = 0, rounds = 0, connections = 0] = [values.seconds, values.rounds, values.connections].map(Number);
for (const [name, value] of Object.entries({ seconds, rounds, connections })) {
  if (!(value > 0)) throw new Error(`--${name} takes a number above 0`);
}

async function isAway({ healthUrl }: RunningGateway): Promise<boolean> {
  const text = await (await fetch(`${healthUrl}/metrics`)).text();
  return /^meridian_redis_away 1$/m.test(text);
}

async function settlesAs(gateway: RunningGateway, away: boolean): Promise<void> {
  const endMs = performance.now() + SETTLES_WITHIN_MS;
  while ((await isAway(gateway)) !== away) {
    if (performance.now() > endMs) throw new Error(`redis is ${away ? 'still used' : 'not used again'} after ${SETTLES_WITHIN_MS} ms`);
    // What is told in the background is what finds out.
    await measure({ origin: gateway.url, apiKey: gateway.limitedApiKey, connections: 1, stream: false, warmupMs: 0, measureMs: 200 });
  }
}

interface Row {
  readonly redis: string;
  readonly limited: readonly Measured[];
  readonly unlimited: readonly Measured[];
}

async function phase(redis: string, gateway: RunningGateway): Promise<Row> {
  const limited: Measured[] = [];
  const unlimited: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [apiKey, into] of [
      [gateway.apiKey, unlimited],
      [gateway.limitedApiKey, limited],
    ] as const) {
      into.push(
        await measure({ origin: gateway.url, apiKey, connections, stream: false, warmupMs: WARM_UP_MS, measureMs: seconds * 1_000 }),
      );
    }
  }
  return { redis, limited, unlimited };
}

function shown({ redis, limited, unlimited }: Row): readonly [string, object] {
  const of = (all: readonly Measured[], figure: keyof Measured): number => median(all.map((one) => one[figure]));
  const added = (figure: keyof Measured): number => Number((of(limited, figure) - of(unlimited, figure)).toFixed(3));
  return [
    redis,
    {
      'p50 ms': Number(of(limited, 'p50Ms').toFixed(3)),
      'p99 ms': Number(of(limited, 'p99Ms').toFixed(3)),
      'added p50 ms': added('p50Ms'),
      'added p99 ms': added('p99Ms'),
      'req/s': Math.round(of(limited, 'requestsPerSecond')),
      'without limits, req/s': Math.round(of(unlimited, 'requestsPerSecond')),
      failures: [...limited, ...unlimited].reduce((sum, { failures }) => sum + failures, 0),
    },
  ];
}

async function bench(): Promise<void> {
  if (noRedisServer !== undefined) throw new Error(noRedisServer);
  pin(process.pid, LOAD_CORE);
  const rows: Row[] = [];
  /** What has been started, to be ended in the opposite order. */
  const started: (() => Promise<void>)[] = [];
  try {
    const redis = await startTestRedis();
    started.push(() => redis.stop());
    const proxy = await startDelayingProxy(Number(new URL(redis.url).port));
    started.push(() => proxy.close());
    const upstream = await startNode('./upstream.ts', [], LOAD_CORE);
    started.push(() => stop(upstream.child));
    const gateway = await startGateway(upstream.origin, { redisUrl: `redis://127.0.0.1:${proxy.port}` });
    started.push(() => gateway.close());
    pin(gateway.pid, PROXY_CORE);
    for (const apiKey of [gateway.apiKey, gateway.limitedApiKey]) {
      await measure({ origin: gateway.url, apiKey, connections, stream: false, warmupMs: 0, measureMs: FIRST_WARM_UP_MS });
    }
    await settlesAs(gateway, false);
    rows.push(await phase('up', gateway));
    await redis.kill();
    await settlesAs(gateway, true);
    rows.push(await phase('killed', gateway));
    await redis.restart();
    await settlesAs(gateway, false);
    rows.push(await phase('back', gateway));
    proxy.delayMs = SLOW_MS;
    // Slower than what is waited for in the background, so it counts as away.
    await settlesAs(gateway, true);
    rows.push(await phase(`slow (${SLOW_MS} ms)`, gateway));
    proxy.delayMs = 0;
    await settlesAs(gateway, false);
    rows.push(await phase('back again', gateway));
  } finally {
    for (const end of started.reverse()) await end();
  }
  console.log(
    `${cpus()[0]?.model ?? 'unknown CPU'}, Node ${process.versions.node}; ${connections} connections, ${rounds} rounds of ${seconds} s`,
  );
  console.table(Object.fromEntries(rows.map(shown)));
}

await bench();
