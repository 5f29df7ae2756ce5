import { performance } from 'node:perf_hooks';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectRegionRedis, RedisAway, type RegionRedis } from './client.ts';
import { noRedisServer, startTestRedis, type TestRedis } from './testing.ts';

const TIMEOUT_MS = 5_000;
const quiet = { info: () => {}, warn: () => {} };

describe.skipIf(noRedisServer !== undefined)(`the region's Redis${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`, () => {
  let server: TestRedis;
  const clients: RegionRedis[] = [];
  const connect = (url = server.url): RegionRedis => {
    const client = connectRegionRedis({ url, log: quiet, nowMs: () => performance.now(), random: Math.random });
    clients.push(client);
    return client;
  };
  const until = async (condition: () => boolean): Promise<void> => {
    const end = Date.now() + 15_000;
    while (!condition()) {
      if (Date.now() > end) throw new Error('it did not come about');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const back = (client: RegionRedis): Promise<void> => until(() => !client.away);
  /** Commands go on being tried, as a node does: a probe closes the breaker. */
  const usedAgain = async (client: RegionRedis): Promise<void> => {
    const end = Date.now() + 15_000;
    for (;;) {
      const answer = await client.run((redis) => redis.ping(), TIMEOUT_MS).catch(() => undefined);
      if (answer === 'PONG' && !client.away) return;
      if (Date.now() > end) throw new Error('it did not come back');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  beforeAll(async () => {
    server = await startTestRedis();
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });
  afterAll(() => server.stop());

  it('runs commands once it is connected', async () => {
    const client = connect();
    await back(client);
    await client.run((redis) => redis.set('a', '1'), TIMEOUT_MS);
    expect(await client.run((redis) => redis.get('a'), TIMEOUT_MS)).toBe('1');
  });

  it('says at once that there is no connection', async () => {
    const client = connect('redis://127.0.0.1:1');
    expect(client.away).toBe(true);
    await expect(client.run((redis) => redis.ping(), TIMEOUT_MS)).rejects.toMatchObject({ name: 'RedisAway', sent: false });
  });

  it('goes on by itself after the server was killed and started again', async () => {
    const client = connect();
    await back(client);
    await server.kill();
    await until(() => client.away);
    await expect(client.run((redis) => redis.ping(), TIMEOUT_MS)).rejects.toBeInstanceOf(RedisAway);
    await server.restart();
    await usedAgain(client);
  });

  it('goes on by itself after the server was killed with commands under way, and started again at once', async () => {
    const client = connect();
    await back(client);
    server.pause();
    const lost = Array.from({ length: 3 }, () => client.run((redis) => redis.ping(), 60_000));
    const ends = Promise.allSettled(lost);
    // They have left by then, also those that are sent in the next turn.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.kill();
    await server.restart();
    for (const end of await ends) expect(end).toMatchObject({ status: 'rejected', reason: { name: 'RedisAway', sent: true } });
    await usedAgain(client);
  });

  it('waits no longer than it is told for a server that stands still, and asks it no more after five times', async () => {
    const client = connect();
    await back(client);
    server.pause();
    try {
      const late = Array.from({ length: 5 }, () => client.run((redis) => redis.ping(), 50));
      for (const end of await Promise.allSettled(late)) expect(end).toMatchObject({ status: 'rejected', reason: { sent: true } });
      expect(client.away).toBe(true);
      await expect(client.run((redis) => redis.ping(), TIMEOUT_MS)).rejects.toMatchObject({ sent: false });
    } finally {
      server.resume();
    }
    await usedAgain(client);
  });

  it('is away when the server has no memory left to write', async () => {
    const client = connect();
    await back(client);
    await server.maxMemory(1);
    try {
      for (let count = 0; count < 5; count++)
        await expect(client.run((redis) => redis.set('b', '1'), TIMEOUT_MS)).rejects.toMatchObject({ name: 'RedisAway', sent: true });
      expect(client.away).toBe(true);
    } finally {
      await server.maxMemory(0);
    }
    await usedAgain(client);
  });

  it('logs no argument of a command that was refused', async () => {
    const warned: unknown[] = [];
    const log = { info: () => {}, warn: (...parts: unknown[]) => warned.push(...parts) };
    const client = connectRegionRedis({ url: server.url, log, nowMs: () => performance.now(), random: Math.random });
    clients.push(client);
    await back(client);
    await server.maxMemory(1);
    try {
      for (let count = 0; count < 200 && warned.length === 0; count++)
        await client.run((redis) => redis.set('b', 'an answer'), TIMEOUT_MS).catch(() => {});
    } finally {
      await server.maxMemory(0);
    }
    // As the log writes an error: its own fields, and of what caused it the message alone.
    expect(JSON.stringify(pino.stdSerializers.err((warned[0] as { readonly err: Error }).err))).not.toContain('an answer');
  });

  it('ends what is under way when it is closed', async () => {
    const client = connect();
    await back(client);
    server.pause();
    try {
      const asked = client.run((redis) => redis.ping(), 60_000);
      // Sent in the next turn, together with what else there is.
      await new Promise((resolve) => setImmediate(resolve));
      client.close();
      await expect(asked).rejects.toBeInstanceOf(RedisAway);
    } finally {
      server.resume();
    }
  });
});
