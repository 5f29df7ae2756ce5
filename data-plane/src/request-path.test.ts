import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Cap } from '@meridian/domain/budget';
import type { Endpoint } from '@meridian/domain/snapshot';
import { windowStartMs } from '@meridian/domain/window';
import { configEntityId } from '@meridian/wire/codec/entry';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { METHOD_PATHS, MODEL_PATHS } from './dialect/place.ts';
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
afterEach(async () => {
  // Whatever became of the requests: what none of them holds any more is not set aside.
  const { running } = node.path;
  const { reservations } = node.bank;
  await node.stop();
  if (running === 0) expect(reservations).toBe(0);
});

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

  it('whose client left while its intent was written does not call the provider, and is not charged', async () => {
    node = await startTestNode(answerWith(ANSWER));
    await served(node);
    const client = await rawClient(node.port);
    // The connection goes in the same turn in which the request arrives: the intent is written a turn later.
    node.path.server.server.prependOnceListener('request', (request) => request.socket.destroy());
    client.socket.write(chatRequest(node.apiKey));
    await client.closed;
    expect((await node.finals(2))[1]).toMatchObject({ outcome: 'failed', status: 499, chargeNano: 0n, attempts: [] });
    expect(node.asked).toHaveLength(1);
    expect(node.bank.reservations).toBe(0);
  });
});

/** One request from its begin to its end; the leases are there afterwards. */
async function served(on: TestNode, fields: object = {}): Promise<string> {
  const client = await rawClient(on.port);
  client.socket.write(chatRequest(on.apiKey, fields, ['connection: close']));
  return client.closed;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The JSON body of an answer. */
function bodyOf(answer: string): { readonly [field: string]: unknown; readonly error?: { readonly [field: string]: unknown } } {
  return JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
}

function endpointOf(on: TestNode): Endpoint {
  const [endpoint] = on.picture.endpointsOf('m-1.5');
  if (endpoint === undefined) throw new Error('no endpoint');
  return endpoint;
}

/** A model of another name, at the provider and the price of the picture's own. */
function knowModel(on: TestNode, id: string): void {
  const model = on.picture.model('m-1.5');
  const [version] = on.picture.priceBook('m-1.5')?.versions ?? [];
  if (model === undefined || version === undefined) throw new Error('no model');
  const bodies = [
    { kind: 'model', value: { ...model, id } },
    { kind: 'endpoint', value: { ...endpointOf(on), id: 'end_9', modelId: id } },
    { kind: 'price_book', value: { modelId: id, versions: [{ ...version, modelId: id }] } },
  ] as const;
  for (const body of bodies) on.picture.apply({ kind: body.kind, id: configEntityId(body), version: 1, body });
}

const PREPAID = { capId: 'prepaid_acc_1', windowStartMs: 0 };
const cap = (id: string, fields: Partial<Cap>): Cap => ({
  id,
  accountId: 'acc_1',
  scope: 'key',
  scopeId: 'key_1',
  window: 'utc_day',
  unit: 'nano_usd',
  limit: 1_000_000_000,
  ...fields,
});

describe('the money of a request', () => {
  it('is set aside in every budget that applies, named in intent and final, and charged in each unit', async () => {
    const caps = [
      cap('cap_k', { limit: 2_000_000_000 }),
      cap('cap_m', { scope: 'member', scopeId: 'mem_1', unit: 'chat_completions', limit: 10 }),
      cap('cap_i', { scope: 'member', scopeId: 'mem_1', unit: 'images', limit: 10 }),
      cap('cap_a', { scope: 'account', scopeId: 'acc_1', window: 'utc_month' }),
    ];
    node = await startTestNode(answerWith(ANSWER), {}, caps);
    expect(await served(node, { max_tokens: 50 })).toMatch(/^HTTP\/1\.1 200 /);
    const [final] = await node.finals(1);
    const day = windowStartMs('utc_day', node.ids.nowMs());
    const leases = [
      node.bank.leaseOn({ capId: 'cap_k', windowStartMs: day }),
      node.bank.leaseOn({ capId: 'cap_m', windowStartMs: day }),
      node.bank.leaseOn({ capId: 'cap_a', windowStartMs: windowStartMs('utc_month', node.ids.nowMs()) }),
      node.bank.leaseOn(PREPAID),
    ];
    const charge = final?.chargeNano ?? 0n;
    expect(charge).toBe(42_000n);
    expect(final?.leases).toEqual(leases.map((lease, index) => ({ leaseId: lease?.id, amount: index === 1 ? 1n : charge })));
    expect(leases.map((lease) => lease?.used)).toEqual([42_000, 1, 42_000, 42_000]);
    expect(leases.map((lease) => lease?.reserved)).toEqual([0, 0, 0, 0]);
    // No image was asked for, so nothing was asked of that cap.
    expect(node.bank.leaseOn({ capId: 'cap_i', windowStartMs: day })).toBeUndefined();
  });

  it('is settled in the turn in which the final is handed to the spool, and behind it', async () => {
    node = await startTestNode(answerWith(ANSWER));
    const turns: string[] = [];
    const { final } = node.spool;
    vi.spyOn(node.spool, 'final').mockImplementation((record, written) => {
      turns.push('final');
      setImmediate(() => turns.push('next turn'));
      final.call(node.spool, record, written);
    });
    const { settle } = node.bank.desk;
    vi.spyOn(node.bank.desk, 'settle').mockImplementation((...args) => {
      turns.push('settled');
      settle.apply(node.bank.desk, args);
    });
    await served(node);
    expect(turns).toEqual(['final', 'settled', 'next turn']);
  });

  it('comes back whole where the request fails, and a count with it', async () => {
    node = await startTestNode((_, response) => void response.writeHead(500).end('{}'), {}, [
      cap('cap_m', { unit: 'chat_completions', limit: 2 }),
    ]);
    for (let index = 0; index < 3; index++) expect(await served(node)).toMatch(/^HTTP\/1\.1 502 /);
    expect(await node.finals(3)).toMatchObject([{ chargeNano: 0n }, { chargeNano: 0n }, { chargeNano: 0n }]);
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ reserved: 0, used: 0, inFlight: 0 });
    expect(node.bank.reservations).toBe(0);
  });

  it('comes back where the spool refuses the intent', async () => {
    node = await startTestNode(answerWith(ANSWER));
    await served(node);
    const { used } = node.bank.leaseOn(PREPAID) ?? {};
    await node.spool.close();
    expect(await served(node)).toMatch(/^HTTP\/1\.1 503 .*overloaded/s);
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ used, reserved: 0, inFlight: 0 });
    expect(node.asked).toHaveLength(1);
  });

  it('comes back where the answer cannot be rated, and the request is not charged', async () => {
    node = await startTestNode(answerWith(ANSWER));
    await served(node);
    const priced = node.bank.leaseOn(PREPAID)?.used;
    // A price that is no integer: the control plane sends none, and the picture would not take it.
    const cards = [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { output: 1.5 as unknown as bigint, input: 1n } }] as const;
    node.picture.apply({
      kind: 'endpoint',
      id: 'end_1',
      version: 9,
      body: { kind: 'endpoint', value: { ...endpointOf(node), cost: { endpointId: 'end_1', version: 9, effectiveFromMs: 0, cards } } },
    });
    expect(await served(node)).toMatch(/^HTTP\/1\.1 200 /);
    expect((await node.finals(2))[1]).toMatchObject({ outcome: 'failed', chargeNano: 0n, attempts: [] });
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ used: priced, reserved: 0, inFlight: 0 });
  });

  it('is not waited for by a client that has left: nothing is written, and nothing stays set aside', async () => {
    node = await startTestNode(answerWith(ANSWER));
    node.bank.withhold();
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey));
    while (node.bank.desk.status().waiting === 0) await turn();
    client.socket.destroy();
    while (node.bank.desk.status().waiting > 0) await turn();
    node.bank.answer();
    while (node.bank.leaseOn(PREPAID)?.granted === undefined || node.path.running > 0) await turn();
    expect(node.bank.reservations).toBe(0);
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ reserved: 0, used: 0 });
    await node.spool.close();
    expect(await node.finals(0)).toEqual([]);
    expect(node.asked).toHaveLength(0);
  });

  it('that is no longer there is 402, with what is left and what would fit, and that does fit', async () => {
    node = await startTestNode(answerWith(ANSWER), { account: { balanceNano: 2_000_000n } });
    const refused = await served(node, { max_tokens: 1_000 });
    expect(refused).toMatch(/^HTTP\/1\.1 402 /);
    expect(refused).toMatch(/x-should-retry: false\r\n/);
    const error = bodyOf(refused).error ?? {};
    expect(error).toMatchObject({
      type: 'insufficient_credits',
      code: 'insufficient_credits',
      scope: 'account',
      window: 'prepaid',
      left_usd: '0.002',
      message: expect.stringContaining(`with an output limit of at most ${error.max_tokens} tokens it would fit`),
    });
    expect(error.max_tokens).toBeGreaterThan(0);
    expect(await served(node, { max_tokens: Number(error.max_tokens) + 1 })).toMatch(/^HTTP\/1\.1 402 /);
    expect(await served(node, { max_tokens: error.max_tokens })).toMatch(/^HTTP\/1\.1 200 /);
    expect(node.bank.reservations).toBe(0);
  });

  it('that is short by the bytes of a request is enough where the exact count of its tokens fits, in its quote as well', async () => {
    node = await startTestNode(answerWith(ANSWER), { account: { balanceNano: 2_000_000n } });
    knowModel(node, 'gpt-4o');
    const words = { messages: [{ role: 'user', content: 'question '.repeat(1_000) }], max_tokens: 50 };
    // The same text by its bytes, on a model of which no tokenizer is known.
    const byBytes = await served(node, words);
    expect(byBytes).toMatch(/^HTTP\/1\.1 402 /);
    expect(Number(bodyOf(byBytes).error?.required_usd)).toBeGreaterThan(0.01);

    const quoted = await fetch(`${node.url}/v1/quote`, {
      method: 'POST',
      headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-4o', ...words }),
    });
    const quote = (await quoted.json()) as Readonly<Record<string, unknown>>;
    expect(quote).toMatchObject({ admitted: true, max_output_tokens: 50 });
    expect(quote.input_tokens_bound).toBeGreaterThan(1_000);
    expect(quote.input_tokens_bound).toBeLessThan(1_150);
    expect(node.bank.reservations).toBe(0);

    expect(await served(node, { model: 'gpt-4o', ...words })).toMatch(/^HTTP\/1\.1 200 /);
    const [final] = await node.finals(1);
    expect(final?.maxCostNano.toString()).toBe(quote.max_cost_nano);

    const refused = await served(node, { model: 'gpt-4o', ...words, max_tokens: 1_000 });
    expect(refused).toMatch(/^HTTP\/1\.1 402 /);
    const error = bodyOf(refused).error ?? {};
    expect(Number(error.required_usd)).toBeLessThan(0.008);
    expect(await served(node, { model: 'gpt-4o', ...words, max_tokens: error.max_tokens })).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('of a cap is 402 budget_exceeded, and a count that is used up 429 until its window ends', async () => {
    const caps = [cap('cap_k', { limit: 100 }), cap('cap_m', { scope: 'member', scopeId: 'mem_1', unit: 'chat_completions', limit: 0 })];
    node = await startTestNode(answerWith(ANSWER), {}, [caps[0] as Cap]);
    const money = await served(node);
    expect(money).toMatch(/^HTTP\/1\.1 402 /);
    expect(bodyOf(money).error).toMatchObject({
      code: 'budget_exceeded',
      scope: 'key',
      window: 'utc_day',
      limit_usd: '0.0000001',
      max_tokens: 0,
    });
    await node.stop();

    node = await startTestNode(answerWith(ANSWER), {}, [caps[1] as Cap]);
    const count = await served(node);
    expect(count).toMatch(/^HTTP\/1\.1 429 /);
    expect(count).toMatch(/x-should-retry: false\r\n/);
    const now = node.ids.nowMs();
    const end = windowStartMs('utc_day', now) + 86_400_000;
    expect(count).toContain(`retry-after: ${Math.ceil((end - now) / 1000)}\r\n`);
    expect(bodyOf(count).error).toMatchObject({
      code: 'daily_limit_exceeded',
      scope: 'member',
      unit: 'chat_completions',
      limit: 0,
      left: 0,
      resets_at: new Date(end).toISOString(),
    });
  });

  const messages = [{ role: 'user', content: 'Hi' }];
  const BODIES: Readonly<Record<string, object>> = {
    '/v1/chat/completions': { model: 'm-1.5', messages },
    '/v1/embeddings': { model: 'embed-1', input: 'Hi' },
    '/v1/messages': { model: 'm-1.5', messages, max_tokens: 10 },
    '/v1/responses': { model: 'm-1.5', input: 'Hi' },
    generateContent: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
    streamGenerateContent: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
    embedContent: { content: { parts: [{ text: 'Hi' }] } },
    batchEmbedContents: { requests: [{ model: 'models/embed-1', content: { parts: [{ text: 'Hi' }] } }] },
  };
  const METHODS = Object.keys(BODIES).filter((name) => !name.startsWith('/'));
  const CALLS: readonly (readonly [path: string, body: object | undefined])[] = [
    ...MODEL_PATHS.flatMap(({ path, operation }) => {
      const body = BODIES[path];
      return (operation === 'chat' ? [body, { ...body, stream: true }] : [body]).map((each) => [path, each] as const);
    }),
    ...METHOD_PATHS.flatMap((path) =>
      METHODS.map((method) => [path.replace('*', `${/embed/i.test(method) ? 'embed-1' : 'm-1.5'}:${method}`), BODIES[method]] as const),
    ),
  ];

  it('is asked for at every path before a provider is called', async () => {
    node = await startTestNode(answerWith(ANSWER), { account: { balanceNano: 0n } });
    for (const [path, body] of CALLS) {
      if (body === undefined) throw new Error(`no request is written for ${path}`);
      const answer = await fetch(node.url + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect([path, answer.status, await answer.text()]).toEqual([path, 402, expect.stringMatching(/credit/i)]);
    }
    expect(node.asked).toHaveLength(0);
  });

  it('that nobody can be asked about is 503 at once', async () => {
    node = await startTestNode(answerWith(ANSWER));
    node.bank.disconnect();
    const text = await served(node);
    expect(text).toMatch(/^HTTP\/1\.1 503 /);
    expect(text).toMatch(/retry-after: 1\r\n/);
    expect(bodyOf(text).error).toMatchObject({ code: 'budget_unavailable' });
  });

  it('sets a limit of the output where the client gave none, and none where the model keeps it', async () => {
    const bodies: { readonly max_completion_tokens?: number; readonly max_tokens?: number }[] = [];
    const provider: Provider = (request, response, body) => {
      bodies.push(JSON.parse(body));
      answerWith(ANSWER)(request, response, body);
    };
    node = await startTestNode(provider, { account: { balanceNano: 60_000_000n } });
    await served(node);
    const model = node.picture.model('m-1.5');
    if (model === undefined) throw new Error('no model');
    node.picture.apply({
      kind: 'model',
      id: 'm-1.5',
      version: 9,
      body: { kind: 'model', value: { ...model, contextTokens: 900_000, maxOutputTokens: 500_000 } },
    });
    await served(node);
    await served(node, { max_tokens: 4_000 });
    expect(bodies.map((body) => [body.max_completion_tokens, body.max_tokens])).toEqual([
      [undefined, undefined],
      [4_096, undefined],
      [undefined, 4_000],
    ]);
    const [, limited] = await node.finals(3);
    expect(limited?.maxCostNano).toBeGreaterThan(4_096n * 5_600n);
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

  it('a stream that is cut after an early report of usage pays for what was generated, as an estimate', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ role: 'assistant' }, { usage: { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 } }));
    for (let index = 0; index < 80; index++) response.write(event({ content: 'word' }));
    response.write(event({ content: 'the last one' }));
    await client.seen(/the last one/);
    const cut = once(response, 'close');
    client.socket.destroy();
    while (node.path.drainingStreams === 0) await turn();
    node.pass(11_000);
    await cut;
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ outcome: 'client_gone', exactness: 'estimated', usage: { input: 10, output: 83 } });
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ used: Number(final?.chargeNano), reserved: 0 });
  });

  it('before any content pays nothing, whatever usage was reported by then', async () => {
    const { provider, answer } = asking();
    node = await startTestNode(provider);
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    const response = await answer();
    streamHead(response);
    response.write(event({ role: 'assistant' }, { usage: { prompt_tokens: 10, completion_tokens: 0, total_tokens: 10 } }));
    const cut = once(response, 'close');
    client.socket.destroy();
    while (node.path.drainingStreams === 0) await turn();
    node.pass(11_000);
    await cut;
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n }]);
    expect(node.bank.leaseOn(PREPAID)).toMatchObject({ used: 0, reserved: 0 });
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
    const alarms = vi.spyOn(node.log, 'error');
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { max_tokens: 5 }));
    await client.seen(/HTTP\/1\.1 200/);
    const [final] = await node.finals(1);
    expect(final?.outcome).toBe('success');
    expect(final?.chargeNano).toBe(final?.maxCostNano);
    // No count is taken for more than 100 billion tokens: here of input at $1 and of output at $4 a million, and 40 %.
    const varianceNano = 700_000_000_000_000n - (final?.chargeNano ?? 0n);
    expect(final?.varianceNano).toBe(varianceNano);
    expect(Number(final?.leases[0]?.amount)).toBe(node.bank.leaseOn(PREPAID)?.used);
    expect(alarms).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ request_id: final?.requestId, variance_nano: String(varianceNano) }),
      expect.stringContaining('dearer'),
    );
    expect(await node.metrics.registry.getSingleMetricAsString('meridian_variance_total')).toMatch(/meridian_variance_total 1$/m);
    client.socket.destroy();
  });
});

describe('an answer without its usage', () => {
  it('is counted here, charged as an estimate, and alarmed', async () => {
    const { usage: _, ...answer } = JSON.parse(ANSWER) as { usage: object };
    node = await startTestNode(answerWith(JSON.stringify(answer)));
    const alarms = vi.spyOn(node.log, 'error');
    expect(await served(node)).toMatch(/^HTTP\/1\.1 200 /);
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ outcome: 'success', exactness: 'estimated', usage: { output: 3 } });
    expect(final?.chargeNano).toBeGreaterThan(0n);
    expect(alarms).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ request_id: final?.requestId, model: 'm-1.5' }),
      expect.stringContaining('without its usage'),
    );
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

describe('the end of an answer', () => {
  const begins = (response: ServerResponse): void => {
    streamHead(response);
    response.write(event({ content: 'before' }));
  };
  it.each<{ what: string; stream: boolean; provider: Provider; end: RegExp }>([
    { what: 'a whole answer', stream: false, provider: answerWith(ANSWER), end: /HTTP/ },
    {
      what: 'an error',
      stream: false,
      provider: (_, response) => void response.writeHead(400, { 'content-type': 'application/json' }).end('{}'),
      end: /HTTP/,
    },
    {
      what: 'a stream',
      stream: true,
      provider: (_, response) => {
        begins(response);
        response.end(ENDING);
      },
      end: /"cost_usd"|\[DONE\]/,
    },
    {
      what: 'a stream that its provider breaks off',
      stream: true,
      provider: (_, response) => {
        begins(response);
        setImmediate(() => response.destroy());
      },
      end: /"error"/,
    },
  ])('goes out when the final is written, and not before: $what', async ({ stream, provider, end }) => {
    node = await startTestNode(provider);
    const isWritten = Promise.withResolvers<() => void>();
    const { final } = node.spool;
    vi.spyOn(node.spool, 'final').mockImplementation((record, written) => {
      final.call(node.spool, record, (error) => isWritten.resolve(() => written(error)));
    });
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream }));
    const tell = await isWritten.promise;
    await quiet(() => client.text.length);
    expect(client.text).not.toMatch(end);
    tell();
    await client.seen(end);
    client.socket.destroy();
  });
});

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
