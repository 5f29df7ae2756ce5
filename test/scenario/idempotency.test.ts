/** Idempotency keys in a whole world with a Redis: the official SDK's own retries, a node that is killed, and what is in the ledger after it. */
import { noRedisServer, startTestRedis, type TestRedis } from '@meridian/data-plane/redis/testing';
import { sql } from 'kysely';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RegionName, until, World } from '../world/world.ts';

/** A client that sends a key with each request, as the SDK does where it is told the header: the same one with each of its retries. */
class KeyedOpenAI extends OpenAI {
  protected override idempotencyHeader = 'Idempotency-Key';
}

const MODEL = 'gpt-5.4-mini';
const TIMEOUT_MS = 120_000;

describe.skipIf(noRedisServer !== undefined)(
  `idempotency keys in a world${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`,
  { timeout: TIMEOUT_MS },
  () => {
    let redis: TestRedis;
    let world: World;
    beforeAll(async () => {
      redis = await startTestRedis();
      world = await World.start({ nodeEnv: { MERIDIAN_REDIS_URL: redis.url } });
    }, TIMEOUT_MS);
    afterAll(async () => {
      await world?.stop();
      await redis?.stop();
    }, TIMEOUT_MS);

    const client = (region: RegionName, options: { timeout?: number; maxRetries?: number } = {}): OpenAI =>
      new KeyedOpenAI({ baseURL: `${world.url(region)}/v1`, apiKey: world.apiKey, maxRetries: 0, ...options });
    const messages = (content: string) => [{ role: 'user' as const, content }];
    /** Calls that the providers have had for a marker, once none is open. */
    const calls = async (marker: string): Promise<number> => {
      await world.upstreamIdle();
      return (await world.journal()).filter((line) => line.client_marker === marker).length;
    };
    const events = async (): Promise<readonly { request_id: string; outcome: string; charge_nano: bigint }[]> => {
      await world.reported();
      const found = await sql<{ request_id: string; outcome: string; charge_nano: bigint }>`
      SELECT request_id, outcome, charge_nano FROM usage_event`.execute(world.database.db);
      return found.rows;
    };
    const send = (region: RegionName, key: string, body: object): Promise<Response> =>
      fetch(`${world.url(region)}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify({ model: MODEL, ...body }),
      });

    it('give the SDK the same answer for the same key, whole and streamed', async () => {
      const whole = { model: MODEL, messages: messages('[[ref sdk-whole]] Name a colour.') };
      const options = { idempotencyKey: 'sdk-whole' };
      const first = await client('us').chat.completions.create(whole, options).withResponse();
      const again = await client('us').chat.completions.create(whole, options).withResponse();
      expect(again.data).toEqual(first.data);
      expect(again.request_id).toBe(first.request_id);
      expect(again.response.headers.get('x-meridian-replay')).toBe('true');
      expect(await calls('sdk-whole')).toBe(1);

      const streamed = {
        model: MODEL,
        messages: messages('[[ref sdk-stream]] Tell me about rivers.'),
        stream: true,
        stream_options: { include_usage: true },
      } as const;
      const read = async (): Promise<unknown[]> => {
        const chunks: unknown[] = [];
        for await (const chunk of await client('us').chat.completions.create(streamed, { idempotencyKey: 'sdk-stream' }))
          chunks.push(chunk);
        return chunks;
      };
      const chunks = await read();
      expect(chunks.length).toBeGreaterThan(3);
      expect(await read()).toEqual(chunks);
      expect(await calls('sdk-stream')).toBe(1);
      await expect(client('us').chat.completions.create({ ...whole, temperature: 0 }, options)).rejects.toMatchObject({ status: 422 });
    });

    it('are of one region', async () => {
      const body = { messages: messages('[[ref regions]] Hello') };
      const [us, eu] = [await send('us', 'regions', body), await send('eu', 'regions', body)];
      expect([us.status, eu.status]).toEqual([200, 200]);
      expect(eu.headers.get('x-meridian-replay')).toBeNull();
      await Promise.all([us.text(), eu.text()]);
      expect(await calls('regions')).toBe(2);
    });

    it('make one call and one charge of a request that the SDK gave up and sent again by itself', async () => {
      const before = new Set((await events()).map(({ request_id }) => request_id));
      // The answer takes longer than the SDK waits: it hangs up, and asks again until it has it.
      const patient = client('us', { timeout: 1_000, maxRetries: 8 });
      const { data, response } = await patient.chat.completions
        .create({ model: MODEL, messages: messages('[[ref gave-up]] [[sim delay_ms=2500]] Hello') })
        .withResponse();
      expect(data.choices[0]?.message.content).toMatch(/\S/);
      expect(response.headers.get('x-meridian-replay')).toBe('true');
      expect(await calls('gave-up')).toBe(1);
      const after = (await events()).filter(({ request_id }) => !before.has(request_id));
      expect(after.filter(({ charge_nano }) => BigInt(charge_nano) > 0n)).toHaveLength(1);
    });

    it('of a node that was killed are free when its lease is over: the dead request is free, the retry is charged', async () => {
      const marked = '[[ref killed]] [[sim delay_ms=600000 times=1]] Hello';
      const dead = send('us', 'killed', { messages: messages(marked) }).catch(() => undefined);
      await until(async () => (await running()).length === 1, 'the key to be claimed');
      await until(async () => (await openCalls()) === 1, 'the provider to be called');
      await world.node('us').kill();
      await dead;
      await world.startNode('us');
      const retry = send('us', 'killed', { messages: messages(marked) });
      await until(async () => (await world.gauge('us', 'meridian_idempotent_waiting')) === 1, 'the retry to wait');
      // As if the time of the lease had passed.
      for (const name of await running()) await redis.admin((admin) => admin.pexpire(name, 0));
      const answer = await retry;
      expect(answer.status).toBe(200);
      expect(answer.headers.get('x-meridian-replay')).toBeNull();
      await answer.text();
      expect((await send('us', 'killed', { messages: messages(marked) })).headers.get('x-meridian-replay')).toBe('true');
      const mine = answer.headers.get('x-request-id');
      await until(async () => (await events()).some(({ outcome }) => outcome === 'recovered'), 'the dead request to be told');
      const found = await events();
      expect(found.filter(({ outcome }) => outcome === 'recovered').map(({ charge_nano }) => String(charge_nano))).toEqual(['0']);
      expect(found.find(({ request_id }) => request_id === mine)).toMatchObject({ outcome: 'success' });
    });

    /** Names of the records of requests that are being served in `us`. */
    const running = (): Promise<string[]> =>
      redis.admin(async (admin) => {
        const names = await admin.keys('meridian:idempotency:us:*');
        const states = await Promise.all(names.map((name) => admin.hget(name, 's')));
        return names.filter((_, index) => states[index] === 'running');
      });

    const openCalls = async (): Promise<number> => {
      const response = await fetch(`${world.upstreamUrl}/__sim/health`);
      return ((await response.json()) as { open: number }).open;
    };
  },
);
