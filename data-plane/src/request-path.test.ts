import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
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

/** A provider that leaves its answers to the test. */
function asking(): { provider: Provider; answer(): Promise<ServerResponse> } {
  const ready: ServerResponse[] = [];
  let wake: (() => void) | undefined;
  return {
    provider: (_, response) => {
      ready.push(response);
      wake?.();
    },
    async answer() {
      while (ready.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const [response] = ready.splice(0, 1);
      if (response === undefined) throw new Error('no answer');
      return response;
    },
  };
}

describe('a request', () => {
  it('is answered with its cost and settled once', async () => {
    node = await startTestNode(answerWith(ANSWER));
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey));
    const text = await client.seen(/cost_usd.*\}\}$/s);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(text).toMatch(/x-meridian-cost-usd: [\d.e-]+\r\n/);
    const finals = await node.finals(1);
    expect(finals).toMatchObject([{ outcome: 'success', exactness: 'exact', usage: { input: 10, output: 5 } }]);
    expect(finals[0]?.chargeNano).toBeGreaterThan(0n);
    client.socket.destroy();
    await client.closed;
    expect(node.path.running).toBe(0);
    expect(node.deadlines.size).toBe(1); // the idle time of the provider's connections
  });

  it('whose client left while it was being admitted does not call the provider, and is not charged', async () => {
    node = await startTestNode(answerWith(ANSWER));
    const client = await rawClient(node.port);
    // The connection goes in the same turn in which the request arrives: the intent is written a turn later.
    node.path.server.server.prependOnceListener('request', (request) => request.socket.destroy());
    client.socket.write(chatRequest(node.apiKey));
    await client.closed;
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', status: 499, chargeNano: 0n, attempts: [] }]);
    expect(node.asked).toHaveLength(0);
  });
});

describe('a client that leaves', () => {
  it('while its stream is paused for it: the stream is read to its usage and charged exactly', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ content: 'first' }));
    await client.seen(/first/);
    client.socket.pause();
    const block = event({ content: 'y'.repeat(60_000) });
    // Until every buffer between here and there is full, so that the node has stopped reading.
    let written = 0;
    while (written < 2_000 && response.write(block)) written++;
    for (let index = 0; index < 400; index++) response.write(block);
    response.end(ENDING);
    expect(response.writableLength).toBeGreaterThan(0);
    await quiet(() => response.writableLength);
    expect(response.writableLength).toBeGreaterThan(0);
    client.socket.destroy();
    const finals = await node.finals(1);
    expect(finals).toMatchObject([{ outcome: 'client_gone', exactness: 'exact', usage: { input: 10, output: 5 } }]);
  });

  it('in HELD, before any content: the stream is read on, then cut, and costs nothing', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ role: 'assistant' }));
    const cut = once(response, 'close');
    client.socket.destroy();
    while (node.path.drainingStreams === 0) await new Promise((resolve) => setImmediate(resolve));
    node.pass(11_000);
    await cut;
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', status: 499, chargeNano: 0n }]);
    expect(node.path.drainingStreams).toBe(0);
  });

  it('with a pipelined request behind the one that runs: both are settled and nothing is held for them', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }) + chatRequest(node.apiKey, { stream: true }));
    const responses = [await answer(), await answer()];
    for (const response of responses) {
      streamHead(response);
      response.write(event({ content: 'some text' }));
    }
    await client.seen(/some text/);
    client.socket.destroy();
    while (node.path.drainingStreams < 2) await new Promise((resolve) => setImmediate(resolve));
    for (const response of responses) response.end(ENDING);
    expect(await node.finals(2)).toMatchObject([{ outcome: 'client_gone' }, { outcome: 'client_gone' }]);
    await node.path.drain(1_000);
    expect(node.path.running).toBe(0);
  });
});

describe('an upstream', () => {
  it('that goes on after the end of its stream is cut, and the client has its end', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ content: 'text' }) + ENDING);
    await client.seen(/\[DONE\]/);
    const cut = once(response, 'close');
    for (let index = 0; index < 20; index++) response.write(`: ${'x'.repeat(8_000)}\n\n`);
    await cut;
    expect(response.writableFinished).toBe(false);
    client.socket.destroy();
  });

  it('whose token counts make no sense is settled all the same, and the excess is ours', async () => {
    const answer = JSON.parse(ANSWER) as { usage: object };
    answer.usage = { prompt_tokens: 9e15, completion_tokens: 9e15, total_tokens: 9e15 };
    node = await startTestNode(answerWith(JSON.stringify(answer)));
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { max_tokens: 5 }));
    await client.seen(/HTTP\/1\.1 200/);
    const [final] = await node.finals(1);
    expect(final?.outcome).toBe('success');
    expect(final?.chargeNano).toBe(final?.maxCostNano);
    expect(final?.varianceNano).toBe(2n ** 63n - 1n);
    client.socket.destroy();
  });
});

describe('a node that is drained', () => {
  it('lets a stream finish, refuses new requests with 503 and closes their connections', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ content: 'before' }));
    await client.seen(/before/);
    const drained = node.path.drain(30_000);
    const late = await rawClient(node.port);
    late.socket.write(chatRequest(node.apiKey));
    const refusal = await late.closed;
    expect(refusal).toMatch(/^HTTP\/1\.1 503 /);
    expect(refusal).toMatch(/connection: close\r\n/i);
    expect(refusal).toMatch(/retry-after: \d+\r\n/);
    expect(refusal).toContain('"overloaded"');
    response.end(event({ content: 'after' }) + ENDING);
    await client.seen(/after.*\[DONE\]/s);
    await drained;
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success' }]);
    client.socket.destroy();
  });

  it('tells a stream that does not end in time with a typed error, and settles it uncharged before that', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const stream = await rawClient(node.port);
    stream.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ content: 'before' }));
    await stream.seen(/before/);
    const whole = await rawClient(node.port);
    whole.socket.write(chatRequest(node.apiKey));
    await answer();
    const drained = node.path.drain(5_000);
    node.pass(6_000);
    expect(await stream.seen(/"code":"overloaded"/)).not.toContain('[DONE]');
    expect(await whole.seen(/"code":"overloaded"/)).toMatch(/^HTTP\/1\.1 503 /);
    await drained;
    expect(await node.finals(2)).toMatchObject([
      { outcome: 'failed', chargeNano: 0n, errorCode: 'overloaded' },
      { outcome: 'failed', chargeNano: 0n, errorCode: 'overloaded' },
    ]);
    stream.socket.destroy();
    whole.socket.destroy();
  });

  it('does not wait for a client that never reads its answer', async () => {
    node = await startTestNode(answerWith(ANSWER.replace('Hello there', 'z'.repeat(20_000_000))));
    const client = await rawClient(node.port);
    client.socket.pause();
    client.socket.write(chatRequest(node.apiKey));
    await node.finals(1);
    const drained = node.path.drain(5_000);
    node.pass(8_000);
    await drained;
    client.socket.destroy();
  });
});

/** Resolves when a figure has stood still for some turns of the event loop. */
async function quiet(figure: () => number): Promise<void> {
  let same = 0;
  let last = figure();
  while (same < 2_000) {
    await new Promise((resolve) => setImmediate(resolve));
    if (figure() === last) same++;
    else same = 0;
    last = figure();
  }
}

describe('a record that cannot be written', () => {
  it('before the call refuses the request with a time to come back; after it the answer goes out all the same', async () => {
    let served = 0;
    node = await startTestNode((_, response) => {
      served++;
      // The spool is gone between the intent and the final.
      void node.spool.close().then(() => response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER));
    });
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey));
    await client.seen(/HTTP\/1\.1 200 .*cost_usd/s);
    client.socket.write(chatRequest(node.apiKey));
    const text = await client.seen(/HTTP\/1\.1 503 .*overloaded/s);
    expect(text).toMatch(/retry-after: \d+/);
    expect(served).toBe(1);
    expect(node.path.running).toBe(0);
    client.socket.destroy();
  });
});
