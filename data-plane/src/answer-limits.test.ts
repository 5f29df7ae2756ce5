/** Answers that pass a limit of this node after their first content: their client is told, and pays for what it was sent. */
import { hashApiKey } from '@meridian/domain/api-key';
import { afterEach, describe, expect, it } from 'vitest';
import { PEPPER } from './control/testing.ts';
import { MAX_EVENT_BYTES } from './dialect/sse.ts';
import { MemoryStore } from './idempotency/memory-store.ts';
import { LEASE_MS } from './idempotency/record.ts';
import { chatRequest, ENDING, event, type Provider, rawClient, startTestNode, streamHead, type TestNode } from './testing.ts';

let node: TestNode;
afterEach(async () => {
  const { reservations } = node.bank;
  await node.stop();
  expect(reservations).toBe(0);
});

const PREPAID = { capId: 'prepaid_acc_1', windowStartMs: 0 };
const MEBIBYTE = 1024 * 1024;
const CALLS = 1_100;

/** A stream of these events that is left open: whoever reads it has to end it. */
function streaming(...events: readonly string[]): Provider {
  return (_, response) => {
    streamHead(response);
    for (const text of events) response.write(text);
  };
}

const TEXT = Array.from({ length: 20 }, () => event({ content: 'four' }));
const OVERSIZED = event({ content: 'x'.repeat(MAX_EVENT_BYTES) });

function callEvent(index: number): string {
  return event({ tool_calls: [{ index, id: `call_${index}`, type: 'function', function: { name: 'look', arguments: '{}' } }] });
}

async function asked(fields: object = {}, path = '/v1/chat/completions', headers: readonly string[] = []): Promise<string> {
  const client = await rawClient(node.port);
  client.socket.write(
    chatRequest(node.apiKey, { stream: true, ...fields }, ['connection: close', ...headers]).replace('/v1/chat/completions', path),
  );
  return client.closed;
}

describe('a stream passed through', () => {
  it('with an event above 8 MiB after its first content is charged for what came before it', async () => {
    node = await startTestNode(streaming(...TEXT, OVERSIZED));
    const seen = await asked();
    expect(seen).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen.match(/"four"/g)).toHaveLength(20);
    expect(seen).toContain('"code":"upstream_error"');
    expect(seen).not.toContain('[DONE]');
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ outcome: 'cut', exactness: 'estimated', errorCode: 'upstream_error', usage: { output: 20 } });
    expect(final).toMatchObject({ attempts: [{ status: 200, errorCode: 'upstream_error' }] });
    expect(final?.chargeNano).toBeGreaterThan(0n);
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ used: Number(final?.chargeNano), reserved: 0 });
  });

  it('with such an event after its usage is charged by the usage', async () => {
    const [, usage = ''] = ENDING.split('\n\n');
    node = await startTestNode(streaming(...TEXT, `${usage}\n\n`, OVERSIZED));
    await asked();
    expect(await node.finals(1)).toMatchObject([{ outcome: 'cut', exactness: 'exact', usage: { input: 10, output: 5 } }]);
  });

  it('whose first content is such an event is not charged: nothing of it was sent', async () => {
    node = await startTestNode(streaming(event({ role: 'assistant' }), OVERSIZED));
    expect(await asked()).toMatch(/^HTTP\/1\.1 502 /);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n, usage: {} }]);
  });

  it('that is not JSON any more is still not charged: that is its provider’s fault', async () => {
    node = await startTestNode(streaming(...TEXT, 'data: {"choices": [\n\n'));
    expect(await asked()).toContain('"code":"upstream_error"');
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n, usage: {} }]);
  });

  it('that is nested beyond what is read is charged for what came before', async () => {
    // Only the place of a name that has to be replaced is looked for in an event as a whole.
    const deep = event({ content: 'x'.repeat(MEBIBYTE) }, { model: 'another', extra: 0 }).replace(
      '"extra":0',
      `"extra":${'['.repeat(400)}${']'.repeat(400)}`,
    );
    node = await startTestNode(streaming(...TEXT, deep));
    await asked({ model: 'm-latest' });
    expect(await node.finals(1)).toMatchObject([{ outcome: 'cut', exactness: 'estimated', usage: { output: 20 } }]);
  });

  it('leaves a receipt for the retry of its idempotency key, and no second charge', async () => {
    node = await startTestNode(streaming(...TEXT, OVERSIZED));
    await asked({}, undefined, ['idempotency-key: once']);
    const again = await asked({}, undefined, ['idempotency-key: once']);
    expect(again).toMatch(/^HTTP\/1\.1 409 /);
    // Its client was there to the end.
    expect(again).toContain('and its answer ended before it was whole. ');
    expect(node.asked).toHaveLength(1);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'cut' }]);
  });

  it('whose place a retry has taken meanwhile is not charged: the retry is', async () => {
    let storeMs = 0;
    const idempotencyStore = new MemoryStore(() => storeMs);
    const sent = Promise.withResolvers<() => void>();
    node = await startTestNode(
      (_, response) => {
        streamHead(response);
        for (const text of TEXT) response.write(text);
        sent.resolve(() => void response.write(OVERSIZED));
      },
      {},
      [],
      { idempotencyStore },
    );
    const other = await startTestNode(streaming(...TEXT, OVERSIZED), { key: { hash: hashApiKey(PEPPER, node.apiKey) } }, [], {
      idempotencyStore,
    });
    try {
      const late = asked({}, undefined, ['idempotency-key: once']);
      const goOn = await sent.promise;
      // Its lease is over, as if its node had stood still for so long.
      storeMs = 2 * LEASE_MS;
      const client = await rawClient(other.port);
      client.socket.write(chatRequest(node.apiKey, { stream: true }, ['connection: close', 'idempotency-key: once']));
      await client.closed;
      goOn();
      await late;
      expect(await other.finals(1)).toMatchObject([{ outcome: 'cut', usage: { output: 20 } }]);
      expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n }]);
    } finally {
      await other.stop();
    }
  });

  it('whose client had left by then is charged for what was generated', async () => {
    const sent = Promise.withResolvers<() => void>();
    node = await startTestNode((_, response) => {
      streamHead(response);
      for (const text of TEXT) response.write(text);
      sent.resolve(() => void response.write(OVERSIZED));
    });
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    await client.seen(/four/);
    const goOn = await sent.promise;
    client.socket.destroy();
    while (node.path.drainingStreams === 0) await new Promise((resolve) => setImmediate(resolve));
    goOn();
    expect(await node.finals(1)).toMatchObject([{ outcome: 'cut', exactness: 'estimated', usage: { output: 20 } }]);
  });
});

describe('a stream translated', () => {
  const ask = { max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }] };

  it('with more than 1,024 calls is charged for those that were sent', async () => {
    node = await startTestNode(streaming(...Array.from({ length: CALLS }, (_, index) => callEvent(index))));
    const seen = await asked(ask, '/v1/messages');
    expect(seen.match(/"type":"tool_use"/g)).toHaveLength(1_024);
    expect(seen).toContain('event: error');
    const [final] = await node.finals(1);
    // Each call has a start and its arguments.
    expect(final).toMatchObject({ outcome: 'cut', exactness: 'estimated', usage: { output: 2_048 } });
    expect(final?.chargeNano).toBe(final?.maxCostNano);
    expect(final?.varianceNano).toBeGreaterThan(0n);
  });

  it('with an event above 8 MiB is charged for what came before it', async () => {
    node = await startTestNode(streaming(...TEXT, OVERSIZED));
    const seen = await asked(ask, '/v1/messages');
    expect(seen.match(/text_delta/g)).toHaveLength(20);
    expect(seen).toContain('event: error');
    expect(await node.finals(1)).toMatchObject([{ outcome: 'cut', exactness: 'estimated', usage: { output: 20 } }]);
  });

  it('that its client’s dialect cannot be given is charged without what could not be written', async () => {
    // Arguments that a Gemini client gets in one piece are kept until they are whole.
    const begun = { index: 0, id: 'call_0', type: 'function', function: { name: 'look', arguments: '{"a":"' } };
    const more = event({ tool_calls: [{ index: 0, function: { arguments: 'y'.repeat(4 * MEBIBYTE) } }] });
    node = await startTestNode(streaming(...TEXT, event({ tool_calls: [begun] }), more, more, more, more));
    const body = { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] };
    const seen = await asked(body, '/v1beta/models/m-1.5:streamGenerateContent?alt=sse');
    expect(seen.match(/"four"/g)).toHaveLength(20);
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ outcome: 'cut', exactness: 'estimated' });
    expect(final?.usage.output).toBeLessThan((13 * MEBIBYTE) / 4);
  });

  it('that breaks the rules of its provider’s dialect is not charged', async () => {
    const body = { input: 'Hi', max_output_tokens: 50 };
    node = await startTestNode(streaming(...TEXT, 'data: [1]\n\n'));
    expect(await asked(body, '/v1/responses')).toContain('response.failed');
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n, usage: {} }]);
  });
});

describe('a whole answer', () => {
  it('that is above what is held costs nothing: nothing of it was sent', async () => {
    node = await startTestNode((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const block = Buffer.alloc(4 * MEBIBYTE, ' ');
      for (let index = 0; index < 17; index++) response.write(block);
    });
    expect(await asked({ stream: false })).toMatch(/^HTTP\/1\.1 502 /);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n, usage: {} }]);
  });
});
