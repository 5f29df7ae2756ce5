/** Rate limits on the way of a request: what is refused when, what is told, and that nothing stays entered. */
import type { ServerResponse } from 'node:http';
import type { RateLimits } from '@meridian/domain/rate-limit';
import { afterEach, describe, expect, it } from 'vitest';
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
} from './testing.ts';

let node: TestNode;
afterEach(() => node.stop());

const limited = (provider: Provider, rateLimits: RateLimits, modelRateLimits?: RateLimits): Promise<TestNode> =>
  startTestNode(provider, { plan: { rateLimits, ...(modelRateLimits === undefined ? {} : { modelRateLimits }) } });

/** One request from its begin to its end. */
async function served(fields: object = {}, headers: readonly string[] = []): Promise<string> {
  const client = await rawClient(node.port);
  client.socket.write(chatRequest(node.apiKey, fields, ['connection: close', ...headers]));
  return client.closed;
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
const header = (answer: string, name: string): string | undefined => new RegExp(`\r\n${name}: (.*?)\r\n`).exec(answer)?.[1];

/** Asks until the key lets a request in again: what holds a place ends a turn or two after its client has gone. */
async function letIn(): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (statusOf(await served()) === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the place was not given back');
}

describe('a key with rate limits', () => {
  it('is told how it stands with each answer, whole or as a stream', async () => {
    node = await limited(
      (_, response, body) => {
        if (!body.includes('"stream":true')) return answerWith(ANSWER)(_, response, body);
        streamHead(response);
        response.end(event({ content: 'Hello' }) + ENDING);
      },
      { requestsPerMinute: 60, tokensPerMinute: 6_000 },
    );
    const whole = await served();
    expect(statusOf(whole)).toBe(200);
    const told = ['limit', 'remaining', 'reset'].flatMap((what) =>
      ['requests', 'tokens'].map((of) => header(whole, `x-ratelimit-${what}-${of}`)),
    );
    // Charged by the usage that came: 15 tokens.
    expect(told).toEqual(['60', '6000', '59', '5985', '1s', '150ms']);
    const stream = await served({ stream: true });
    expect(header(stream, 'x-ratelimit-remaining-requests')).toBe('58');
    // What its input is thought to take is set aside while it runs.
    expect(Number(header(stream, 'x-ratelimit-remaining-tokens'))).toBeLessThan(5_985);
    expect(header(await served(), 'x-ratelimit-remaining-tokens')).toBe(String(6_000 - 3 * 15));
    expect(header(whole, 'access-control-expose-headers')).toContain('x-ratelimit-reset-tokens');
  });

  it('is refused before its body is read, with the time to wait, and served again after it', async () => {
    node = await limited(answerWith(ANSWER), { requestsPerMinute: 2 });
    await served();
    await served();
    const client = await rawClient(node.port);
    client.socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${node.apiKey}\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n`,
    );
    const refused = await client.seen(/"code":"rate_limit_exceeded".*\}\}$/s);
    client.socket.destroy();
    expect(statusOf(refused)).toBe(429);
    expect(header(refused, 'retry-after')).toBe('30');
    expect(header(refused, 'x-ratelimit-remaining-requests')).toBe('0');
    expect(header(refused, 'x-ratelimit-reset-requests')).toBe('1m0s');
    expect(header(refused, 'x-should-retry')).toBeUndefined();
    expect(node.asked).toHaveLength(2);
    node.pass(30_000);
    expect(statusOf(await served())).toBe(200);
  });

  it('is told not to try again by itself where it would have to wait for longer than clients do', async () => {
    node = await limited(answerWith(ANSWER), { tokensPerMinute: 10 });
    // 15 tokens of 10: half a minute until one is there again.
    await served();
    const short = await served();
    expect([statusOf(short), header(short, 'retry-after'), header(short, 'x-should-retry')]).toEqual([429, '31', undefined]);
    await node.stop();
    node = await limited(answerWith(ANSWER), { tokensPerMinute: 2 });
    await served();
    const long = await served();
    expect([statusOf(long), header(long, 'retry-after'), header(long, 'x-should-retry')]).toEqual([429, '391', 'false']);
    const messages = await fetch(`${node.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': node.apiKey, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm-1.5', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] }),
    });
    expect([messages.status, messages.headers.get('retry-after'), messages.headers.get('x-should-retry')]).toEqual([429, '391', 'false']);
    await messages.arrayBuffer();
  });

  it('may list models and quote as often as it likes', async () => {
    node = await limited(answerWith(ANSWER), { requestsPerMinute: 1 });
    for (let count = 0; count < 3; count++) {
      const answer = await fetch(`${node.url}/v1/models`, { headers: { authorization: `Bearer ${node.apiKey}` } });
      expect([answer.status, answer.headers.get('x-ratelimit-limit-requests')]).toEqual([200, null]);
      await answer.arrayBuffer();
    }
    expect(statusOf(await served())).toBe(200);
  });

  it('is limited for a model by its own count, and what that refuses counts in none', async () => {
    node = await limited(answerWith(ANSWER), { requestsPerMinute: 10 }, { requestsPerMinute: 1 });
    expect(statusOf(await served())).toBe(200);
    const refused = await served();
    expect(statusOf(refused)).toBe(429);
    expect(refused).toContain("for the model 'm-1.5'");
    // Of the limit that refused it, and not of the key's own, of which there is plenty.
    expect(['limit', 'remaining', 'reset'].map((what) => header(refused, `x-ratelimit-${what}-requests`))).toEqual(['1', '0', '1m0s']);
    expect(node.asked).toHaveLength(1);
    node.pass(60_000);
    expect(statusOf(await served())).toBe(200);
  });

  it('is charged nothing for an answer that failed', async () => {
    node = await limited(
      (_, response) => response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":{"message":"no"}}'),
      {
        tokensPerMinute: 6_000,
      },
    );
    const failed = await served({ max_tokens: 10 });
    expect(statusOf(failed)).toBe(400);
    expect(header(failed, 'x-ratelimit-remaining-tokens')).toBe('6000');
  });
});

describe('a place among the requests at one time is given back', () => {
  const holding: ServerResponse[] = [];
  /** Answers at once, but for those that ask to be kept waiting. */
  const provider: Provider = (request, response, body) => {
    if (body.includes('keep me waiting')) holding.push(response);
    else answerWith(ANSWER)(request, response, body);
  };
  const waiting = { messages: [{ role: 'user', content: 'keep me waiting' }] };
  const held = async (): Promise<ServerResponse> => {
    for (let attempt = 0; attempt < 1_000; attempt++) {
      const [response] = holding.splice(0, 1);
      if (response !== undefined) return response;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error('the provider was not asked');
  };

  it('when the answer is out, and not before', async () => {
    node = await limited(provider, { concurrency: 1 });
    const first = served(waiting);
    const response = await held();
    const refused = await served();
    expect(statusOf(refused)).toBe(429);
    expect(refused).toContain('requests at one time');
    expect(header(refused, 'retry-after')).toBe('1');
    response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
    expect(statusOf(await first)).toBe(200);
    expect(statusOf(await served())).toBe(200);
  });

  it('when its client leaves while it sends the body', async () => {
    node = await limited(provider, { concurrency: 1 });
    const client = await rawClient(node.port);
    const text = chatRequest(node.apiKey, { user: 'x'.repeat(100_000) });
    client.socket.write(text.slice(0, 50_000));
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.socket.destroy();
    await letIn();
  });

  it('when the body cannot be read, the model is not there, or the provider fails', async () => {
    node = await limited(
      (request, response, body) => {
        if (body.includes('fail')) response.writeHead(500).end();
        else answerWith(ANSWER)(request, response, body);
      },
      { concurrency: 1 },
    );
    for (const [fields, headers, status] of [
      [{ messages: 'none' }, [], 400],
      [{ model: 'nothing' }, [], 404],
      [{}, ['content-encoding: x-unknown'], 415],
      [{ messages: [{ role: 'user', content: 'fail' }] }, [], 502],
      [{}, [], 200],
    ] as const) {
      expect(statusOf(await served(fields, headers))).toBe(status);
    }
  });

  it('when its client leaves the answer: once the provider is done with it', async () => {
    node = await limited(provider, { concurrency: 1 });
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, waiting));
    const response = await held();
    client.socket.destroy();
    await client.closed;
    // A whole answer is finished for a client that has left, and so long it is under way.
    response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
    await letIn();
  });

  it('when its client leaves a stream', async () => {
    node = await limited(
      (request, response, body) => {
        if (!body.includes('"stream":true')) return answerWith(ANSWER)(request, response, body);
        streamHead(response);
        response.write(event({ content: 'Hello' }));
        holding.push(response);
      },
      { concurrency: 1 },
    );
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    await client.seen(/Hello/);
    client.socket.destroy();
    await client.closed;
    (await held()).end(ENDING);
    await letIn();
  });
});
