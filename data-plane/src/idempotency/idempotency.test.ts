/** The request path with idempotency keys: real server, spool and provider connections, with a store in the process and with a real Redis. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { hashApiKey } from '@meridian/domain/api-key';
import type { Final } from '@meridian/domain/usage-record';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { PEPPER } from '../control/testing.ts';
import { connectRegionRedis, type RegionRedis } from '../redis/client.ts';
import { noRedisServer, startTestRedis, type TestRedis } from '../redis/testing.ts';
import {
  ANSWER,
  answerWith,
  chatRequest,
  ENDING,
  event,
  type Provider,
  rawClient,
  startTestNode,
  streamHead,
  type TestNode,
} from '../testing.ts';
import { MemoryStore } from './memory-store.ts';
import { RedisStore } from './redis-store.ts';
import type { RecordStore } from './store.ts';

const WITHIN_MS = 20_000;
const QUIET = { info: () => {}, warn: () => {} };
/** Longer than any test: for those in which nobody is to give up. */
const PATIENT = { idempotencyWaitMs: 3_600_000 };

const nodes: TestNode[] = [];
async function start(
  provider: Provider,
  more: Parameters<typeof startTestNode>[3],
  sketch: Parameters<typeof startTestNode>[1] = {},
): Promise<TestNode> {
  const node = await startTestNode(provider, sketch, [], more);
  nodes.push(node);
  return node;
}
afterEach(async () => {
  for (const node of nodes.splice(0)) {
    await until(() => node.path.running === 0);
    expect(node.bank.reservations).toBe(0);
    expect(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')).toMatch(/waiting 0$/m);
    await node.stop();
  }
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + WITHIN_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`it did not come about: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

interface Answer {
  readonly status: number;
  readonly id: string | null;
  readonly replay: string | null;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly error: { readonly code?: string; readonly message?: string; readonly request_id?: string; readonly reason?: string };
}

async function ask(
  node: TestNode,
  key: string | undefined,
  fields: object = {},
  apiKey = node.apiKey,
  signal?: AbortSignal,
): Promise<Answer> {
  const response = await fetch(`${node.url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'application/json',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    body: JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }], ...fields }),
    ...(signal === undefined ? {} : { signal }),
  });
  const body = Buffer.from(await response.arrayBuffer());
  const { headers, status } = response;
  const error = status === 200 ? {} : (JSON.parse(body.toString()) as { error: Answer['error'] }).error;
  return { status, headers, body, error, id: headers.get('x-request-id'), replay: headers.get('x-meridian-replay') };
}

/** A provider that leaves its answers to the test. */
function asking(): { provider: Provider; answers: ServerResponse[]; answer(): Promise<ServerResponse> } {
  const answers: ServerResponse[] = [];
  return {
    answers,
    provider: (_, response) => void answers.push(response),
    async answer() {
      await until(() => answers.length > 0);
      return answers.shift() as ServerResponse;
    },
  };
}

/** Every answer is another, so that a replay shows. */
function counting(): Provider {
  let count = 0;
  return (_, response, body) => {
    count++;
    const isStream = (JSON.parse(body) as { stream?: boolean }).stream === true;
    if (!isStream) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER.replace('Hello there', `Hello ${count}`));
      return;
    }
    streamHead(response);
    response.write(event({ role: 'assistant' }));
    for (const word of ['one', 'two', 'three']) response.write(event({ content: `${word} ${count}` }));
    response.end(ENDING);
  };
}

const charges = (finals: readonly Final[]): bigint[] => finals.map((final) => final.chargeNano).filter((charge) => charge > 0n);

const kinds: { readonly kind: string; readonly skipped: string | undefined }[] = [
  { kind: 'the process', skipped: undefined },
  { kind: 'Redis', skipped: noRedisServer },
];

let server: TestRedis;
const clients: RegionRedis[] = [];
beforeAll(async () => {
  if (noRedisServer === undefined) server = await startTestRedis();
});
afterAll(() => server?.stop());
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

async function redisStore(): Promise<RedisStore> {
  const client = connectRegionRedis({ url: server.url, log: QUIET, nowMs: () => performance.now(), random: Math.random });
  clients.push(client);
  await until(() => !client.away);
  return new RedisStore(client);
}

for (const { kind, skipped } of kinds) {
  describe.skipIf(skipped !== undefined)(
    `a request with an idempotency key, with the store in ${kind}${skipped === undefined ? '' : ` (${skipped})`}`,
    () => {
      let store: RecordStore;
      beforeEach(async () => {
        if (kind === 'Redis') {
          await server.flushAll();
          store = await redisStore();
        } else store = new MemoryStore(() => performance.now());
      });
      const serving = (provider: Provider, more: { readonly idempotencyWaitMs?: number } = PATIENT): Promise<TestNode> =>
        start(provider, { idempotencyStore: store, ...more });

      it.each([false, true])('is answered once, and its retries with the same bytes (stream: %s)', async (stream) => {
        const node = await serving(counting());
        const first = await ask(node, 'k-1', { stream });
        expect(first.status).toBe(200);
        expect(first.replay).toBeNull();
        for (let count = 0; count < 2; count++) {
          const again = await ask(node, 'k-1', { stream });
          expect(again.status).toBe(200);
          expect(again.body.equals(first.body)).toBe(true);
          expect(again.replay).toBe('true');
          for (const name of [
            'x-request-id',
            'content-type',
            'x-meridian-provider',
            'x-meridian-attempts',
            'x-actual-model',
            'x-meridian-cost-usd',
            'x-meridian-region',
          ])
            expect([name, again.headers.get(name)]).toEqual([name, first.headers.get(name)]);
        }
        expect(node.asked).toHaveLength(1);
        expect(charges(await node.finals(1))).toHaveLength(1);
        // Another key is another request.
        expect((await ask(node, 'k-2', { stream })).body.equals(first.body)).toBe(false);
        expect(node.asked).toHaveLength(2);
      });

      it('is answered once for fifty at the same moment', async () => {
        const { provider, answer, answers } = asking();
        const node = await serving(provider);
        const all = Array.from({ length: 50 }, () => ask(node, 'k'));
        const response = await answer();
        await until(async () => /waiting 49$/m.test(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        const ends = await Promise.all(all);
        expect(new Set(ends.map(({ status }) => status))).toEqual(new Set([200]));
        expect(new Set(ends.map(({ body }) => body.toString())).size).toBe(1);
        expect(new Set(ends.map(({ id }) => id)).size).toBe(1);
        expect(ends.filter(({ replay }) => replay === 'true')).toHaveLength(49);
        expect(answers).toHaveLength(0);
        expect(node.asked).toHaveLength(1);
        expect(charges(await node.finals(1))).toHaveLength(1);
      });

      it('is refused with 422 for another body, while the first runs and after it', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const first = ask(node, 'k');
        const response = await answer();
        const early = await ask(node, 'k', { temperature: 0.5 });
        expect([early.status, early.error.code]).toEqual([422, 'invalid_state']);
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        expect((await first).status).toBe(200);
        expect((await ask(node, 'k', { temperature: 0.5 })).status).toBe(422);
        expect((await ask(node, 'k')).replay).toBe('true');
        expect(node.asked).toHaveLength(1);
      });

      it('is of one API key: with another, the same header is another request', async () => {
        const node = await serving(counting());
        const { apiKey } = await start(counting(), {});
        node.picture.apply({
          kind: 'api_key',
          id: 'key_2',
          version: 2,
          body: {
            kind: 'api_key',
            value: {
              id: 'key_2',
              accountId: 'acc_1',
              memberId: 'mem_1',
              name: 'k2',
              hash: hashApiKey(PEPPER, apiKey),
              status: 'active',
              expiresAtMs: undefined,
              allowedModels: [],
              allowedRegions: [],
            },
          },
        });
        const [one, two] = [await ask(node, 'k'), await ask(node, 'k', {}, apiKey)];
        expect([one.status, two.status]).toEqual([200, 200]);
        expect(two.body.equals(one.body)).toBe(false);
        expect(node.asked).toHaveLength(2);
      });

      it.each<{ what: string; status: number; fails: Provider }>([
        { what: 'a provider’s 500', status: 502, fails: (_, response) => void response.writeHead(500).end('{}') },
        { what: 'a provider’s 400', status: 400, fails: (_, response) => void response.writeHead(400).end('{"error":{"message":"no"}}') },
      ])('that failed is served anew: $what', async ({ status, fails }) => {
        let count = 0;
        const node = await serving((...args) => (count++ === 0 ? fails : counting())(...args));
        expect((await ask(node, 'k')).status).toBe(status);
        const again = await ask(node, 'k');
        expect([again.status, again.replay]).toEqual([200, null]);
        expect(charges(await node.finals(2))).toHaveLength(1);
        // A failed one does not bind its key to its body.
      });

      it('that was refused before any provider was called is free for another body', async () => {
        const node = await serving(counting());
        expect((await ask(node, 'k', { model: 'no-such-model' })).status).toBe(404);
        expect((await ask(node, 'k')).status).toBe(200);
      });

      it('that failed lets one of those who wait for it be served, and the rest have its answer', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const all = Array.from({ length: 5 }, () => ask(node, 'k'));
        const first = await answer();
        await until(async () => /waiting 4$/m.test(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
        first.writeHead(500).end('{}');
        (await answer()).writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        const statuses = (await Promise.all(all)).map(({ status }) => status).sort();
        expect(statuses).toEqual([200, 200, 200, 200, 502]);
        expect(node.asked).toHaveLength(2);
      });

      it('whose client leaves is finished and billed, and a retry has its answer', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const client = await rawClient(node.port);
        client.socket.write(chatRequest(node.apiKey, {}, ['idempotency-key: k']));
        const response = await answer();
        const retry = ask(node, 'k');
        client.socket.destroy();
        await client.closed;
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        const again = await retry;
        expect([again.status, again.replay]).toEqual([200, 'true']);
        expect(JSON.parse(again.body.toString())).toMatchObject({ choices: [{ message: { content: 'Hello there' } }] });
        expect(await node.finals(1)).toMatchObject([{ outcome: 'client_gone', requestId: again.id }]);
        expect(node.asked).toHaveLength(1);
      });

      it.each(['before any of it', 'in the middle of it'])(
        'whose client leaves a stream %s has all of it in a retry, once it was read to its end',
        async (when) => {
          const { provider, answer } = asking();
          const node = await serving(provider);
          const client = await rawClient(node.port);
          client.socket.write(chatRequest(node.apiKey, { stream: true }, ['idempotency-key: k']));
          const response = await answer();
          streamHead(response);
          response.write(event({ role: 'assistant' }));
          if (when !== 'before any of it') {
            response.write(event({ content: 'before' }));
            await client.seen(/before/);
          }
          client.socket.destroy();
          await until(() => node.path.drainingStreams === 1);
          response.end((when === 'before any of it' ? event({ content: 'before' }) : '') + event({ content: 'after' }) + ENDING);
          expect(await node.finals(1)).toMatchObject([{ outcome: 'client_gone' }]);
          const again = await ask(node, 'k', { stream: true });
          expect([again.status, again.replay]).toEqual([200, 'true']);
          expect(again.body.toString()).toMatch(/"role":"assistant".*before.*after.*\[DONE\]/s);
          expect(node.asked).toHaveLength(1);
        },
      );

      it('whose stream was cut behind its client is charged, and a retry has its receipt', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const client = await rawClient(node.port);
        client.socket.write(chatRequest(node.apiKey, { stream: true }, ['idempotency-key: k']));
        const response = await answer();
        streamHead(response);
        response.write(event({ content: 'some words of it' }));
        await client.seen(/some words/);
        const cut = once(response, 'close');
        client.socket.destroy();
        await until(() => node.path.drainingStreams === 1);
        node.pass(11_000);
        await cut;
        const [final] = await node.finals(1);
        expect(final).toMatchObject({ outcome: 'client_gone', exactness: 'estimated' });
        await until(() => node.path.running === 0);
        const again = await ask(node, 'k', { stream: true });
        expect([again.status, again.error]).toEqual([
          409,
          expect.objectContaining({ code: 'conflict', reason: 'cut', request_id: final?.requestId }),
        ]);
        expect(again.error.message).toContain(`/v1/usage/requests/${final?.requestId}`);
        expect(again.headers.get('x-should-retry')).toBe('false');
        expect(node.asked).toHaveLength(1);
      });

      it('whose stream was cut behind its client before any content cost nothing, and is served anew', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const client = await rawClient(node.port);
        client.socket.write(chatRequest(node.apiKey, { stream: true }, ['idempotency-key: k']));
        const response = await answer();
        streamHead(response);
        response.write(event({ role: 'assistant' }));
        client.socket.destroy();
        await until(() => node.path.drainingStreams === 1);
        node.pass(11_000);
        expect(await node.finals(1)).toMatchObject([{ chargeNano: 0n }]);
        const again = ask(node, 'k', { stream: true });
        const second = await answer();
        streamHead(second);
        second.end(event({ content: 'anew' }) + ENDING);
        expect((await again).body.toString()).toContain('anew');
      });

      it('whose stream breaks after its first content is not charged, and is served anew', async () => {
        let count = 0;
        const node = await serving((request, response, body) => {
          if (count++ > 0) return counting()(request, response, body);
          streamHead(response);
          response.write(event({ content: 'before' }));
          setImmediate(() => response.destroy());
        });
        expect((await ask(node, 'k', { stream: true })).body.toString()).toMatch(/"error"/);
        const again = await ask(node, 'k', { stream: true });
        expect(again.body.toString()).toMatch(/three.*\[DONE\]/s);
        expect(again.replay).toBeNull();
        expect(charges(await node.finals(2))).toHaveLength(1);
      });

      it.each([false, true])(
        'whose answer is larger than a mebibyte is answered whole, and a retry has its receipt (stream: %s)',
        async (stream) => {
          const piece = 'z'.repeat(60_000);
          const node = await serving((_, response) => {
            if (!stream) {
              response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER.replace('Hello there', piece.repeat(20)));
              return;
            }
            streamHead(response);
            for (let index = 0; index < 20; index++) response.write(event({ content: piece }));
            response.end(ENDING);
          });
          const first = await ask(node, 'k', { stream });
          expect(first.status).toBe(200);
          expect(first.body.length).toBeGreaterThan(1_200_000);
          const again = await ask(node, 'k', { stream });
          expect([again.status, again.error]).toEqual([409, expect.objectContaining({ reason: 'too_large', request_id: first.id })]);
          expect(node.asked).toHaveLength(1);
          expect(charges(await node.finals(1))).toHaveLength(1);
        },
      );

      it('waits for the first no longer than it may, and has the answer when it asks later', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider, { idempotencyWaitMs: 30_000 });
        const first = ask(node, 'k');
        const response = await answer();
        const waiting = ask(node, 'k');
        await until(async () => /waiting 1$/m.test(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
        node.pass(29_000);
        expect(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')).toMatch(/waiting 1$/m);
        node.pass(2_000);
        const late = await waiting;
        expect([late.status, late.error.code]).toEqual([409, 'conflict']);
        expect(late.headers.get('retry-after')).toBe('1');
        // The SDKs ask again by themselves.
        expect(late.headers.get('x-should-retry')).toBeNull();
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        expect((await first).status).toBe(200);
        expect((await ask(node, 'k')).replay).toBe('true');
        expect(node.asked).toHaveLength(1);
      });

      it('is not waited for by a client that has left', async () => {
        const { provider, answer } = asking();
        const node = await serving(provider);
        const first = ask(node, 'k');
        const response = await answer();
        const client = await rawClient(node.port);
        client.socket.write(chatRequest(node.apiKey, {}, ['idempotency-key: k']));
        await until(async () => /waiting 1$/m.test(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
        client.socket.destroy();
        await until(() => node.path.running === 1);
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        expect((await first).status).toBe(200);
      });

      it('that is empty is answered once as well', async () => {
        const empty = ANSWER.replace('Hello there', '')
          .replace('"completion_tokens":5', '"completion_tokens":0')
          .replace('"total_tokens":15', '"total_tokens":10');
        const node = await serving(answerWith(empty));
        expect((await ask(node, 'k')).status).toBe(200);
        expect((await ask(node, 'k')).replay).toBe('true');
        expect(await node.finals(1)).toMatchObject([{ outcome: 'empty' }]);
        expect(node.asked).toHaveLength(1);
      });

      it('may be an embedding', async () => {
        const node = await serving(
          answerWith(
            '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"up-embed-1","usage":{"prompt_tokens":1,"total_tokens":1}}',
          ),
        );
        const embed = (): Promise<Response> =>
          fetch(`${node.url}/v1/embeddings`, {
            method: 'POST',
            headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json', 'idempotency-key': 'k' },
            body: JSON.stringify({ model: 'embed-1', input: 'Hi' }),
          });
        const [one, two] = [await (await embed()).text(), await (await embed()).text()];
        expect(two).toBe(one);
        expect(node.asked).toHaveLength(1);
      });

      it('is refused with 400 for a header that is no key, and asks nobody', async () => {
        const node = await serving(counting());
        for (const header of [
          'idempotency-key: two words',
          'idempotency-key: a\r\nidempotency-key: b',
          'idempotency-key: ',
          `idempotency-key: ${'x'.repeat(256)}`,
        ]) {
          const client = await rawClient(node.port);
          client.socket.write(chatRequest(node.apiKey, {}, [header, 'connection: close']));
          expect(await client.closed).toMatch(/^HTTP\/1\.1 400 .*"param":"Idempotency-Key"/s);
        }
        expect(node.asked).toHaveLength(0);
      });

      it('is written down before its client has the end of it, and after it may be charged', async () => {
        const node = await serving(counting());
        const order: string[] = [];
        const { settle, keep } = store;
        vi.spyOn(store, 'settle').mockImplementation((...args) => {
          order.push('settle');
          return settle.apply(store, args);
        });
        const hold = Promise.withResolvers<void>();
        vi.spyOn(store, 'keep').mockImplementation(async (...args) => {
          order.push('keep');
          await hold.promise;
          return keep.apply(store, args);
        });
        const { final } = node.spool;
        vi.spyOn(node.spool, 'final').mockImplementation((...args) => {
          order.push('final');
          final.apply(node.spool, args);
        });
        const client = await rawClient(node.port);
        client.socket.write(chatRequest(node.apiKey, { stream: true }, ['idempotency-key: k']));
        await client.seen(/three 1/);
        await until(() => order.length === 3);
        expect(order).toEqual(['settle', 'final', 'keep']);
        expect(client.text).not.toContain('[DONE]');
        hold.resolve();
        await client.seen(/\[DONE\]/);
        client.socket.destroy();
      });

      it('costs a request without one nothing: the store is not asked', async () => {
        const node = await serving(counting());
        const asked = (['claim', 'settle', 'keep', 'release'] as const).map((name) => vi.spyOn(store, name));
        expect((await ask(node, undefined)).status).toBe(200);
        expect((await ask(node, undefined, { stream: true })).status).toBe(200);
        for (const spy of asked) expect(spy).not.toHaveBeenCalled();
      });
    },
  );
}

it('an answer that had to give way is a receipt, and is neither served nor charged again', async () => {
  const node = await start(counting(), { idempotencyStore: new MemoryStore(() => 0, { maxAnswerBytes: 1 }) });
  const first = await ask(node, 'k');
  expect(first.status).toBe(200);
  const retry = await ask(node, 'k');
  expect([retry.status, retry.error.code, retry.error.request_id, retry.error.reason]).toEqual([409, 'conflict', first.id, 'no_room']);
  expect(retry.headers.get('x-should-retry')).toBe('false');
  expect(node.asked).toHaveLength(1);
  expect(charges(await node.finals(1))).toHaveLength(1);
});

it('a key that cannot be remembered is refused, and what comes without one is served', async () => {
  const node = await start(counting(), { idempotencyStore: new MemoryStore(() => 0, { maxRecords: 1 }) });
  expect((await ask(node, 'first')).status).toBe(200);
  const refused = await ask(node, 'second');
  expect([refused.status, refused.error.code, refused.headers.get('retry-after')]).toEqual([503, 'overloaded', '60']);
  expect((await ask(node, 'first')).replay).toBe('true');
  expect((await ask(node, undefined)).status).toBe(200);
  expect(node.asked).toHaveLength(2);
  expect(await node.metrics.registry.getSingleMetricAsString('meridian_idempotent_refused_total')).toMatch(/ 1$/m);
});

it('what is remembered in the process can be seen', async () => {
  const node = await start(counting(), {});
  expect((await ask(node, 'k')).status).toBe(200);
  const read = async (name: string): Promise<number> =>
    Number((await node.metrics.registry.getSingleMetricAsString(`meridian_idempotency_memory_${name}`)).split(' ').at(-1));
  expect(await Promise.all(['records', 'answers', 'gave_way_total'].map(read))).toEqual([1, 1, 0]);
  expect(await read('answer_bytes')).toBeGreaterThan(ANSWER.length);
});

it('a request that waits for one of another node is told to ask again when its own node stops', async () => {
  const { provider, answer } = asking();
  const idempotencyStore = new MemoryStore(() => 0);
  const one = await start(provider, { idempotencyStore, ...PATIENT });
  const two = await start(provider, { idempotencyStore, ...PATIENT }, { key: { hash: hashApiKey(PEPPER, one.apiKey) } });
  const first = ask(one, 'k');
  const response = await answer();
  const waiting = ask(two, 'k', {}, one.apiKey);
  await until(async () => /waiting 1$/m.test(await two.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
  const drained = two.path.drain(1_000);
  two.pass(1_500);
  const told = await waiting;
  expect([told.status, told.headers.get('retry-after'), told.headers.get('x-should-retry')]).toEqual([409, '1', null]);
  await drained;
  response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
  expect((await first).status).toBe(200);
});

describe.skipIf(noRedisServer !== undefined)(
  `idempotency keys in a region${noRedisServer === undefined ? '' : ` (${noRedisServer})`}`,
  () => {
    beforeEach(() => server.flushAll());
    const region = async (provider: Provider): Promise<[TestNode, TestNode]> => {
      const one = await start(provider, { idempotencyStore: await redisStore(), ...PATIENT });
      const two = await start(
        provider,
        { idempotencyStore: await redisStore(), ...PATIENT },
        { key: { hash: hashApiKey(PEPPER, one.apiKey) } },
      );
      return [one, two];
    };
    /** Time passes on a node until something has come: what asks Redis again and again is on its wheel. */
    const passUntilDone = async <T>(node: TestNode, promise: Promise<T>): Promise<T> => {
      let done = false;
      void promise.finally(() => {
        done = true;
      });
      await until(() => {
        node.pass(250);
        return done;
      });
      return promise;
    };
    const recordName = async (): Promise<string> => {
      const [name = ''] = await server.admin((redis) => redis.keys('meridian:idempotency:us:*'));
      return name;
    };

    it('are waited for across nodes', async () => {
      const { provider, answer } = asking();
      const [one, two] = await region(provider);
      const first = ask(one, 'k');
      const response = await answer();
      const second = ask(two, 'k', {}, one.apiKey);
      const third = ask(two, 'k', { temperature: 1 }, one.apiKey);
      expect((await third).status).toBe(422);
      await until(async () => /waiting 1$/m.test(await two.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
      two.pass(1_000);
      expect(two.asked).toHaveLength(0);
      response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      const [a, b] = [await first, await passUntilDone(two, second)];
      expect([b.status, b.replay, b.id]).toEqual([200, 'true', a.id]);
      expect(b.body.equals(a.body)).toBe(true);
      expect([one.asked.length, two.asked.length]).toEqual([1, 0]);
    });

    it('are claimed by one of two nodes that race', async () => {
      const provider = counting();
      const [one, two] = await region(provider);
      for (let count = 0; count < 10; count++) {
        const all = [one, two, one, two].map((node) => ask(node, `race-${count}`, {}, one.apiKey));
        const ends = await passUntilDone(two, passUntilDone(one, Promise.all(all)));
        expect(new Set(ends.map(({ status }) => status))).toEqual(new Set([200]));
        expect(new Set(ends.map(({ id }) => id)).size).toBe(1);
      }
      expect(one.asked.length + two.asked.length).toBe(10);
    });

    it('of a node that stood still belong to the one that took over: one charge, and the late one is told', async () => {
      const { provider, answer } = asking();
      const [one, two] = await region(provider);
      const late = ask(one, 'k');
      const lateResponse = await answer();
      const name = await recordName();
      // Its lease is over, as if it had not been renewed for so long.
      await server.admin((redis) => redis.pexpire(name, 0));
      const second = ask(two, 'k', {}, one.apiKey);
      (await answer()).writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      expect((await second).status).toBe(200);
      lateResponse.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      const told = await late;
      expect([told.status, told.error.code]).toEqual([409, 'conflict']);
      expect(await one.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n }]);
      expect(charges(await two.finals(1))).toHaveLength(1);
      expect((await ask(one, 'k')).body.equals((await second).body)).toBe(true);
    });

    it('are renewed while their request runs', async () => {
      const { provider, answer } = asking();
      const [one] = await region(provider);
      const first = ask(one, 'k');
      const response = await answer();
      const name = await recordName();
      for (let count = 0; count < 3; count++) {
        await server.admin((redis) => redis.pexpire(name, 5_000));
        one.pass(5_250);
        await until(async () => (await server.admin((redis) => redis.pttl(name))) > 6_000);
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      expect((await first).status).toBe(200);
    });

    it('of which Redis has lost everything keep the answer of a request that runs', async () => {
      const { provider, answer } = asking();
      const [one] = await region(provider);
      const first = ask(one, 'k');
      const response = await answer();
      await server.flushAll();
      response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      expect((await first).status).toBe(200);
      expect((await ask(one, 'k')).replay).toBe('true');
      // What was finished by then is served again.
      await server.flushAll();
      const again = ask(one, 'k');
      (await answer()).writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
      expect((await again).replay).toBeNull();
    });

    it('are refused with 503 while Redis is away, everything else is served, and what ran meanwhile is answered afterwards', async () => {
      const { provider, answer } = asking();
      const [one] = await region(provider);
      const running = ask(one, 'k', { stream: true });
      const response = await answer();
      streamHead(response);
      response.write(event({ content: 'before' }));
      await server.kill();
      try {
        const refused = await ask(one, 'other');
        expect([refused.status, refused.error.code, refused.headers.get('retry-after')]).toEqual([503, 'overloaded', '1']);
        const without = ask(one, undefined);
        (await answer()).writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        expect((await without).status).toBe(200);
        response.end(event({ content: 'after' }) + ENDING);
        const whole = await running;
        expect(whole.body.toString()).toMatch(/before.*after.*\[DONE\]/s);
        expect((await ask(one, 'k', { stream: true })).status).toBe(503);
        expect(await one.metrics.registry.getSingleMetricAsString('meridian_idempotent_unsaved')).toMatch(/unsaved 1$/m);
        await server.restart();
        let again = await ask(one, 'k', { stream: true });
        await until(async () => {
          if (again.status === 503) again = await ask(one, 'k', { stream: true });
          return again.status !== 503;
        });
        expect([again.status, again.replay, again.id]).toEqual([200, 'true', whole.id]);
        expect(again.body.equals(whole.body)).toBe(true);
        expect(one.asked).toHaveLength(2);
      } finally {
        await server.kill();
        await server.restart();
      }
    });

    it('whose node died while it settled have a receipt, after a while in which it may still come to its end', async () => {
      const [one] = await region(counting());
      const { id } = await ask(one, 'k');
      const name = await recordName();
      // As a node leaves it that is killed between the two.
      await server.admin((redis) => redis.multi().hset(name, 's', 'settling').hdel(name, 'a').pexpire(name, 86_400_000).exec());
      const retry = ask(one, 'k');
      await until(async () => /waiting 1$/m.test(await one.metrics.registry.getSingleMetricAsString('meridian_idempotent_waiting')));
      await server.admin((redis) => redis.pexpire(name, 86_400_000 - 10_000));
      const told = await passUntilDone(one, retry);
      expect([told.status, told.error]).toEqual([409, expect.objectContaining({ reason: 'unsettled', request_id: id })]);
      expect(one.asked).toHaveLength(1);
    });

    it('whose stored answer has been tampered with are not served from it, and not served again', async () => {
      const [one] = await region(counting());
      const { id } = await ask(one, 'k');
      const name = await recordName();
      await server.admin((redis) => redis.hset(name, 'a', Buffer.alloc(200, 7).toString('base64')));
      const told = await ask(one, 'k');
      expect([told.status, told.error.request_id]).toEqual([409, id]);
      expect(one.asked).toHaveLength(1);
    });

    it('whose node owes an answer to Redis are saved without anybody asking', async () => {
      const { provider, answer } = asking();
      const [one] = await region(provider);
      const running = ask(one, 'k');
      const response = await answer();
      await server.kill();
      try {
        response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
        expect((await running).status).toBe(200);
      } finally {
        await server.restart();
      }
      await until(async () => {
        one.pass(1_000);
        return /unsaved 0$/m.test(await one.metrics.registry.getSingleMetricAsString('meridian_idempotent_unsaved'));
      });
      expect(await recordName()).not.toBe('');
      const two = await start(provider, { idempotencyStore: await redisStore() }, { key: { hash: hashApiKey(PEPPER, one.apiKey) } });
      expect((await ask(two, 'k', {}, one.apiKey)).replay).toBe('true');
    });

    it('lie in Redis without a word of key, header, request or answer', async () => {
      const [one] = await region(counting());
      await ask(one, 'a-telling-header', { messages: [{ role: 'user', content: 'a telling question' }] });
      const name = await recordName();
      const stored = JSON.stringify([name, await server.admin((redis) => redis.hgetall(name))]);
      expect(stored).toContain('answer');
      const { a = '' } = await server.admin((redis) => redis.hgetall(name));
      const shown = stored + Buffer.from(a, 'base64').toString('latin1');
      for (const secret of ['telling', 'Hello', one.apiKey, 'assistant']) expect(shown).not.toContain(secret);
    });
  },
);
