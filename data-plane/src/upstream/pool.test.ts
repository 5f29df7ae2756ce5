import { expect, it } from 'vitest';
import { Deadlines } from './deadline.ts';
import { DEFAULT_POOL_LIMITS, type PoolLimits, Pools } from './pool.ts';

function pools(limits: Partial<PoolLimits>) {
  const clock = { timeMs: 0, nowMs: () => clock.timeMs };
  const deadlines = new Deadlines(clock);
  const pass = (ms: number) => {
    clock.timeMs += ms;
    deadlines.advance();
  };
  return { pools: new Pools({ ...DEFAULT_POOL_LIMITS, ...limits }, deadlines), deadlines, pass };
}

it('keeps one pool an origin while it is used, and closes it when nobody has used it for a while', async () => {
  const held = pools({ originIdleMs: 60_000 });
  const first = held.pools.of('http://127.0.0.1:9');
  held.pass(50_000);
  expect(held.pools.of('http://127.0.0.1:9')).toBe(first);
  held.pass(50_000);
  expect(held.pools.size).toBe(1);
  held.pass(11_000);
  expect(held.pools.size).toBe(0);
  expect(first.dispatcher.destroyed).toBe(true);
  expect(held.pools.of('http://127.0.0.1:9')).not.toBe(first);
  await held.pools.close();
  expect(held.deadlines.size).toBe(0);
});

it('does not close a pool under a call', async () => {
  const held = pools({ originIdleMs: 60_000 });
  const pool = held.pools.of('http://127.0.0.1:9');
  pool.calls = 1;
  held.pass(200_000);
  expect(pool.dispatcher.destroyed).toBe(false);
  pool.calls = 0;
  held.pass(61_000);
  expect(pool.dispatcher.destroyed).toBe(true);
  await held.pools.close();
});

it('makes room for a new origin by closing one that is idle, and refuses when all are in use', async () => {
  const held = pools({ maxOrigins: 2 });
  const busy = held.pools.of('http://127.0.0.1:1');
  busy.calls = 1;
  const idle = held.pools.of('http://127.0.0.1:2');
  const third = held.pools.of('http://127.0.0.1:3');
  expect(idle.dispatcher.destroyed).toBe(true);
  expect(busy.dispatcher.destroyed).toBe(false);
  third.calls = 1;
  expect(() => held.pools.of('http://127.0.0.1:4')).toThrow('more than 2 origins');
  await held.pools.close();
});

it('refuses an origin that is none, and every one after it was closed', async () => {
  const held = pools({});
  expect(() => held.pools.of('not an origin')).toThrow();
  expect(() => held.pools.of('http://127.0.0.1:1/path')).toThrow();
  await held.pools.close();
  expect(() => held.pools.of('http://127.0.0.1:1')).toThrow('closed');
});
