import { hashApiKey } from '@meridian/domain/api-key';
import type { Cap } from '@meridian/domain/budget';
import { configEntityId } from '@meridian/wire/codec/entry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PEPPER, type Sketch } from '../../control/testing.ts';
import { ENDING, event, type Provider, startTestNode, streamHead, type TestNode } from '../../testing.ts';
import {
  asking,
  counting,
  errorOf,
  type ProviderRequest,
  type ResponseObject,
  ResponseStream,
  type ServerMessage,
  TestClient,
} from './testing.ts';

const SPEAKS_RESPONSES: Sketch = { endpoint: { dialect: 'openai-responses' } };
const user = (text: string): object => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });

let node: TestNode;
let clients: TestClient[];
beforeEach(() => {
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.ws.terminate();
  const { reservations } = node.bank;
  const { running } = node.path;
  await node.stop();
  if (running === 0) expect(reservations).toBe(0);
});

async function start(provider: Provider, sketch: Sketch = SPEAKS_RESPONSES, caps: readonly Cap[] = []): Promise<void> {
  node = await startTestNode(provider, sketch, caps);
}

function revoke(): void {
  const key = node.picture.keyByHash(hashApiKey(PEPPER, node.apiKey));
  if (key === undefined) throw new Error('no key');
  const body = { kind: 'api_key', value: { ...key, status: 'revoked' } } as const;
  node.picture.apply({ kind: 'api_key', id: configEntityId(body), version: 2, body });
}

async function connect(): Promise<TestClient> {
  const client = new TestClient(`${node.url.replace('http', 'ws')}/v1/responses`, node.apiKey);
  clients.push(client);
  return client.opened();
}

const textOf = (response: ResponseObject): string | undefined => response.output[0]?.content?.[0]?.text;
const textsOf = (request: ProviderRequest | undefined): unknown[] =>
  (request?.input ?? []).map(({ content }) => (Array.isArray(content) ? (content[0] as { text: string }).text : content));

describe('turns over a WebSocket', () => {
  it('are the events of the stream, one a message, in their order', async () => {
    const { provider, requests } = counting();
    await start(provider);
    const client = await connect();
    client.create({ input: 'Hi', stream: true });
    const messages = await client.answer();
    expect(messages.map(({ type }) => type)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(messages.map((message) => message.sequence_number)).toEqual(messages.map((_, index) => index));
    expect(messages.every((message) => !('stream_id' in message))).toBe(true);
    const response = messages.at(-1)?.response as ResponseObject;
    expect(response.usage?.cost_usd).toBeGreaterThan(0);
    expect(requests[0]).toMatchObject({ model: 'up-m-1.5', stream: true, store: false });
    expect(Object.keys(requests[0] ?? {})).not.toContain('type');
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success', stream: true, operation: 'chat', usage: { input: 10, output: 5 } }]);
    expect(client.messages).toEqual([]);
  });

  it('follow one another by the id of the response before', async () => {
    const { provider, requests } = counting();
    await start(provider);
    const client = await connect();
    const first = await client.turn({ input: 'one', instructions: 'Be brief.' });
    const second = await client.turn({ input: [user('two')], previous_response_id: first.id });
    const third = await client.turn({ response: { input: [user('three')], previous_response_id: second.id } });
    expect(textOf(third)).toBe('answer 3 to 5 items');
    expect(textsOf(requests[2])).toEqual(['one', 'answer 1 to 1 items', 'two', 'answer 2 to 3 items', 'three']);
    expect(requests[1]).not.toHaveProperty('instructions');
    expect(requests[2]).not.toHaveProperty('previous_response_id');
    const fork = await client.turn({ input: 'other', previous_response_id: first.id });
    expect(textsOf(requests[3])).toEqual(['one', 'answer 1 to 1 items', 'other']);
    await client.turn({ input: 'anew', previous_response_id: null });
    expect(textsOf(requests[4])).toEqual(['anew']);
    expect(fork.id).not.toBe(first.id);
    const finals = await node.finals(5);
    expect(new Set(finals.map(({ requestId }) => requestId)).size).toBe(5);
    expect(finals.every(({ chargeNano }) => chargeNano > 0n)).toBe(true);
  });

  it('follow what was cut at its output limit', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    client.create({ input: 'one' });
    const { stream } = await asked();
    stream.begin();
    stream.text('so far');
    stream.end('so far', 'incomplete');
    expect((await client.answer()).at(-1)?.type).toBe('response.incomplete');
    client.create({ input: 'go on', previous_response_id: stream.id });
    const second = await asked();
    expect(textsOf(second.request)).toEqual(['one', 'so far', 'go on']);
    second.stream.whole('done');
    await client.answer();
  });

  it('are forgotten when a turn that follows them fails', async () => {
    let fails = false;
    const { provider } = counting();
    await start((request, response, body) => {
      if (fails) response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":{"message":"No.","type":"x","code":null}}');
      else provider(request, response, body);
    });
    const client = await connect();
    const first = await client.turn({ input: 'one' });
    fails = true;
    expect(await client.refused({ input: 'two', previous_response_id: first.id })).toMatchObject({ status: 400, message: 'No.' });
    fails = false;
    const gone = await client.refused({ input: 'two', previous_response_id: first.id });
    expect(gone).toEqual({
      status: 400,
      code: 'previous_response_not_found',
      message: `Previous response with id '${first.id}' not found.`,
      param: 'previous_response_id',
    });
    expect(textOf(await client.turn({ input: 'two' }))).toBe('answer 2 to 1 items');
  });

  it('know nothing of another connection, though it has the same key', async () => {
    const { provider } = counting();
    await start(provider);
    const [one, two] = [await connect(), await connect()];
    const first = await one.turn({ input: 'mine' });
    expect(await two.refused({ input: 'yours', previous_response_id: first.id })).toMatchObject({ code: 'previous_response_not_found' });
  });

  it('can be made ready, without a provider and without a charge', async () => {
    const { provider, requests } = counting();
    await start(provider);
    const client = await connect();
    const tools = [{ type: 'function', name: 'look', parameters: { type: 'object', properties: {} }, strict: false }];
    client.create({ input: [user('long')], instructions: 'Be brief.', tools, generate: false });
    const messages = await client.answer();
    expect(messages[0]?.type).toBe('response.created');
    const ready = messages.at(-1)?.response as ResponseObject;
    expect(ready).toMatchObject({ status: 'completed', output: [] });
    expect(messages.map((message) => message.sequence_number)).toEqual(messages.map((_, index) => index));
    expect(node.asked).toHaveLength(0);
    // As agents send it: all that is new since the request that was made ready is nothing.
    const first = await client.turn({ input: [], previous_response_id: ready.id });
    expect(requests[0]).toMatchObject({ input: [user('long')], tools: [{ name: 'look' }] });
    expect(requests[0]).not.toHaveProperty('generate');
    await client.turn({ input: 'next', previous_response_id: first.id });
    expect(requests[1]).toMatchObject({ tools: [{ name: 'look' }] });
    expect(await node.finals(2)).toHaveLength(2);
    expect(await client.refused({ model: 'no-such', input: 'x', generate: false })).toMatchObject({ status: 404, code: 'model_not_found' });
    expect(await client.refused({ input: 7, generate: false })).toMatchObject({ status: 400, param: 'input' });
  });

  it('carry the state of the reasoning on, and show it to a client only when it asks', async () => {
    const requests: ProviderRequest[] = [];
    await start((_, response, body) => {
      requests.push(JSON.parse(body));
      const stream = new ResponseStream(`resp_${requests.length}`, response);
      const item = { id: 'rs_1', type: 'reasoning', summary: [], encrypted_content: `state ${requests.length}` };
      stream.event('response.created', { response: { id: stream.id, object: 'response', status: 'in_progress', output: [], usage: null } });
      stream.event('response.output_item.added', { output_index: 0, item });
      stream.event('response.output_item.done', { output_index: 0, item });
      const usage = { input_tokens: 10, output_tokens: 5, total_tokens: 15, output_tokens_details: { reasoning_tokens: 5 } };
      const whole = { id: stream.id, object: 'response', status: 'completed', model: 'up-m-1.5', output: [item], usage };
      stream.event('response.completed', { response: whole });
      response.end();
    });
    const model = node.picture.model('m-1.5');
    if (model === undefined) throw new Error('no model');
    const body = { kind: 'model', value: { ...model, capabilities: ['reasoning'] } } as const;
    node.picture.apply({ kind: 'model', id: configEntityId(body), version: 2, body });
    const client = await connect();
    client.create({ input: 'one' });
    const messages = await client.answer();
    expect(JSON.stringify(messages)).not.toContain('state 1');
    expect(requests[0]?.include).toEqual(['reasoning.encrypted_content']);
    client.create({ input: 'two', previous_response_id: 'resp_1', include: ['reasoning.encrypted_content'] });
    expect(JSON.stringify(await client.answer()).match(/state 2/g)).toHaveLength(3);
    expect(requests[1]?.include).toEqual(['reasoning.encrypted_content']);
    expect(requests[1]?.input.map(({ encrypted_content }) => encrypted_content)).toEqual([undefined, 'state 1', undefined]);
    await node.finals(2);
  });

  it('reach an upstream of another dialect, and say what could not be carried', async () => {
    const bodies: { messages: { role: string; content: unknown }[] }[] = [];
    await start((_, response, body) => {
      bodies.push(JSON.parse(body));
      streamHead(response);
      response.end(`${event({ role: 'assistant', content: '' })}${event({ content: `answer ${bodies.length}` })}${ENDING}`);
    }, {});
    const client = await connect();
    const first = await client.turn({ input: 'one' });
    expect(textOf(first)).toBe('answer 1');
    const second = await client.turn({ input: 'two', previous_response_id: first.id });
    expect(textOf(second)).toBe('answer 2');
    const said = bodies[1]?.messages.map(({ role, content }) => [role, typeof content === 'string' ? content : JSON.stringify(content)]);
    expect(said?.map(([role]) => role)).toEqual(['user', 'assistant', 'user']);
    expect(JSON.stringify(said)).toMatch(/one.*answer 1.*two/);
    client.create({ input: 'three', a_field_of_its_own: 1 });
    const messages = await client.answer();
    expect(messages[0]).toMatchObject({ type: 'meridian:loss', loss: expect.stringContaining('a_field_of_its_own') });
    await node.finals(3);
  });
});

describe('a message that is no turn', () => {
  it('is answered with an error, and the connection goes on', async () => {
    const { provider } = counting();
    await start(provider);
    const client = await connect();
    client.ws.send('{"type":');
    expect(errorOf(await client.next())).toMatchObject({ status: 400, code: 'invalid_json' });
    client.ws.send(Buffer.from('{"type":"response.create"}'), { binary: true });
    expect(errorOf(await client.next())).toMatchObject({ status: 400, code: 'invalid_request_error' });
    client.send({ type: 'session.update' });
    const unknown = await client.next();
    expect(errorOf(unknown)).toMatchObject({ status: 400, code: 'unknown_event_type', param: 'type' });
    expect(unknown.headers).toMatchObject({ 'x-request-id': expect.stringMatching(/^req_/) });
    client.send({ type: 'response.processed', response_id: 'r' });
    client.send({ type: 'response.create', stream_id: 'lane', input: 7 });
    expect(errorOf(await client.next('lane'))).toMatchObject({ code: 'invalid_request_error', param: 'input' });
    client.send({ type: 'response.steer', previous_response_id: 'r', input: 'more' });
    expect(await client.next()).toMatchObject({
      type: 'response.steer.failed',
      steer: { previous_response_id: 'r', input: 'more' },
      error: { code: 'steering_not_supported', type: 'invalid_request_error' },
    });
    expect(await client.refused({ input: 'x', model: 'no-such' })).toMatchObject({ status: 404, code: 'model_not_found' });
    expect(await client.refused({ input: 'x', store: true })).toMatchObject({ status: 400, message: 'Store must be set to false' });
    expect(textOf(await client.turn({ input: 'x' }))).toBe('answer 1 to 1 items');
    await node.finals(1);
  });
});

describe('lanes', () => {
  it('run beside each other, each in its own order, and echo their name', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    client.create({ stream_id: 'a', input: 'a1' });
    client.create({ stream_id: 'a', input: 'a2' });
    client.create({ stream_id: 'b', input: 'b1' });
    client.create({ input: 'n1' });
    const [a1, b1, n1] = [await asked(), await asked(), await asked()];
    expect([a1, b1, n1].map(({ request }) => textsOf(request)[0])).toEqual(['a1', 'b1', 'n1']);
    for (const { stream } of [n1, a1, b1]) stream.begin();
    for (const { stream } of [b1, n1, a1]) stream.text(`of ${stream.id}`);
    b1.stream.end('b');
    const ofB = await client.answer('b');
    expect(ofB.every((message) => message.stream_id === 'b')).toBe(true);
    expect(ofB.map((message) => message.sequence_number)).toEqual(ofB.map((_, index) => index));
    expect(node.asked).toHaveLength(3);
    a1.stream.end('a');
    await client.answer('a');
    const a2 = await asked();
    expect(textsOf(a2.request)).toEqual(['a2']);
    n1.stream.end('n');
    expect((await client.answer()).at(-1)).not.toHaveProperty('stream_id');
    a2.stream.whole('a');
    await client.answer('a');
    // A new lane branches off what another one has said.
    client.create({ stream_id: 'c', input: 'c1', previous_response_id: b1.stream.id });
    const c1 = await asked();
    expect(textsOf(c1.request)).toEqual(['b1', 'b', 'c1']);
    c1.stream.response.destroy();
    expect(errorOf((await client.answer('c')).at(-1))).toMatchObject({ status: 502 });
    // A branch that fails leaves the lane it came from alone.
    client.create({ stream_id: 'b', input: 'b2', previous_response_id: b1.stream.id });
    const b2 = await asked();
    expect(textsOf(b2.request)).toEqual(['b1', 'b', 'b2']);
    b2.stream.whole('x');
    await client.answer('b');
    await node.finals(6);
  });

  it('are limited, in number and in what waits', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    for (let index = 0; index < 32; index++) client.send({ type: 'response.create', stream_id: `s${index}`, model: 'no-such', input: 'x' });
    for (let index = 0; index < 32; index++) await client.answer(`s${index}`);
    client.create({ stream_id: 's32', input: 'x' });
    expect(errorOf(await client.next('s32'))).toMatchObject({ status: 400, code: 'websocket_stream_limit_reached', param: 'stream_id' });
    client.create({ stream_id: 's0', input: 'x' });
    const running = await asked();
    for (let index = 0; index < 64; index++) client.create({ stream_id: 's0', input: 'x', model: 'no-such' });
    client.create({ stream_id: 's0', input: 'x' });
    expect(errorOf(await client.next('s0'))).toMatchObject({ status: 429, code: 'websocket_queue_limit_reached' });
    running.stream.whole('done');
    expect((await client.answer('s0')).at(-1)?.type).toBe('response.completed');
    for (let index = 0; index < 64; index++) expect(errorOf(await client.next('s0')).code).toBe('model_not_found');
    await node.finals(1);
  });
});

describe('the key of a connection', () => {
  it('is looked at again for every turn', async () => {
    const { provider } = counting();
    await start(provider);
    const client = await connect();
    const first = await client.turn({ input: 'one' });
    revoke();
    expect(await client.refused({ input: 'two', previous_response_id: first.id })).toMatchObject({ status: 401, code: 'invalid_api_key' });
    expect(await client.closed).toEqual([1008, 'invalid_api_key']);
    expect(node.asked).toHaveLength(1);
    await node.finals(1);
  });

  it('finishes the turn that runs when it is revoked, and refuses those that wait', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    client.create({ stream_id: 'a', input: 'one' });
    const running = await asked();
    client.create({ stream_id: 'a', input: 'two' });
    revoke();
    client.create({ input: 'three' });
    expect(errorOf(await client.next())).toMatchObject({ status: 401 });
    expect(errorOf(await client.next('a'))).toMatchObject({ status: 401 });
    running.stream.whole('done');
    expect((await client.answer('a')).at(-1)?.type).toBe('response.completed');
    expect((await client.closed)[0]).toBe(1008);
    expect(node.asked).toHaveLength(1);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success' }]);
  });

  it('has its rate limits over all its turns', async () => {
    const { provider } = counting();
    await start(provider, { ...SPEAKS_RESPONSES, key: { rateLimits: { requestsPerMinute: 2 } } });
    const client = await connect();
    await client.turn({ input: 'one' });
    await client.turn({ input: 'two' });
    client.create({ input: 'three' });
    const [refused] = await client.answer();
    expect(errorOf(refused)).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    expect(refused?.headers).toMatchObject({ 'retry-after': expect.stringMatching(/^\d+$/) });
    node.pass(60_000);
    expect(textOf(await client.turn({ input: 'three' }))).toBe('answer 3 to 1 items');
    await node.finals(3);
  });
});

describe('the money of turns', () => {
  const cap = (fields: Partial<Cap>): Cap => ({
    id: 'cap_1',
    accountId: 'acc_1',
    scope: 'key',
    scopeId: 'key_1',
    window: 'utc_day',
    unit: 'nano_usd',
    limit: 0,
    ...fields,
  });

  it('ends where the cap does, in the middle of a conversation', async () => {
    const limit = 2_600_000;
    const { provider } = counting();
    await start(provider, SPEAKS_RESPONSES, [cap({ limit })]);
    const client = await connect();
    let previous: string | null = null;
    let turns = 0;
    let last = await (async () => {
      for (;;) {
        client.create({ input: 'on', previous_response_id: previous, max_output_tokens: 100 });
        const messages: ServerMessage[] = await client.answer();
        const message = messages.at(-1);
        if (message?.type !== 'response.completed') return message;
        previous = (message.response as ResponseObject).id;
        turns++;
      }
    })();
    expect(turns).toBeGreaterThan(1);
    expect(errorOf(last)).toMatchObject({ status: 402, code: 'budget_exceeded' });
    const finals = await node.finals(turns);
    expect(finals.reduce((sum, { chargeNano }) => sum + chargeNano, 0n)).toBeLessThanOrEqual(BigInt(limit));
    expect(node.asked).toHaveLength(turns);
    // What the failed turn followed is forgotten; a smaller one still fits.
    client.create({ input: 'on', previous_response_id: previous });
    last = (await client.answer()).at(-1);
    expect(errorOf(last).code).toBe('previous_response_not_found');
    expect(textOf(await client.turn({ input: 'x', max_output_tokens: 1 }))).toBe(`answer ${turns + 1} to 1 items`);
    await node.finals(turns + 1);
  });

  it('counts each turn against a daily number of requests, but none that was only made ready', async () => {
    const { provider } = counting();
    await start(provider, SPEAKS_RESPONSES, [cap({ unit: 'chat_completions', limit: 2 })]);
    const client = await connect();
    await client.turn({ input: 'x', generate: false });
    await client.turn({ input: 'one' });
    await client.turn({ input: 'two' });
    expect(await client.refused({ input: 'three' })).toMatchObject({ status: 429, code: 'daily_limit_exceeded' });
    await node.finals(2);
  });

  it('is charged for a turn whose client has gone, once, for what the provider says it was', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    client.create({ input: 'one' });
    const { stream } = await asked();
    stream.begin();
    stream.text('so far');
    while ((await client.next()).type !== 'response.output_text.delta');
    client.create({ input: 'never served' });
    client.ws.terminate();
    while ((await metric('meridian_websocket_connections')) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stream.text(' and on');
    stream.end('so far and on');
    expect(await node.finals(1)).toMatchObject([{ outcome: 'client_gone', exactness: 'exact', chargeNano: 42_000n }]);
    expect(node.asked).toHaveLength(1);
  });

  it('is not charged for a turn that the provider breaks, and the client is told', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const client = await connect();
    client.create({ stream_id: 'a', input: 'one' });
    const { stream } = await asked();
    stream.begin();
    stream.text('so far');
    const first = await client.next('a');
    stream.response.destroy();
    const messages = await client.answer('a');
    expect(errorOf(messages.at(-1))).toMatchObject({ status: 502, code: 'upstream_error' });
    expect([first, ...messages].map((message) => message.sequence_number)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n }]);
    client.create({ stream_id: 'a', input: 'two' });
    (await asked()).stream.whole('fine');
    expect((await client.answer('a')).at(-1)?.type).toBe('response.completed');
    await node.finals(2);
  });
});

describe('what a connection remembers', () => {
  it('is at most 4 MiB: a turn that is larger is served, and cannot be followed', async () => {
    const { provider, requests } = counting();
    await start(provider, { ...SPEAKS_RESPONSES, account: { balanceNano: 500_000_000_000n } });
    const model = node.picture.model('m-1.5');
    if (model === undefined) throw new Error('no model');
    const body = { kind: 'model', value: { ...model, contextTokens: 10_000_000 } } as const;
    node.picture.apply({ kind: 'model', id: configEntityId(body), version: 2, body });
    const client = await connect();
    const [small, large] = ['s'.repeat(3 * 1024 * 1024), 'l'.repeat(5 * 1024 * 1024)];
    const first = await client.turn({ input: small });
    const second = await client.turn({ input: 'then', previous_response_id: first.id });
    expect(requests[1]?.input).toHaveLength(3);
    const third = await client.turn({ input: large });
    expect(await client.refused({ input: 'x', previous_response_id: third.id })).toMatchObject({ code: 'previous_response_not_found' });
    // What fits is still there, until something else needs its room.
    expect((await client.turn({ input: 'x', previous_response_id: second.id })).status).toBe('completed');
    expect(await metric('meridian_websocket_state_bytes')).toBeGreaterThan(3 * 1024 * 1024);
    const other = await client.turn({ input: small });
    expect(await client.refused({ input: 'x', previous_response_id: first.id })).toMatchObject({ code: 'previous_response_not_found' });
    expect((await client.turn({ input: 'x', previous_response_id: other.id })).status).toBe('completed');
    expect(await metric('meridian_websocket_state_bytes')).toBeLessThanOrEqual(4 * 1024 * 1024);
    await client.close();
    await node.finals(6);
    expect(await metric('meridian_websocket_state_bytes')).toBe(0);
    expect(await metric('meridian_websocket_message_bytes')).toBe(0);
    expect(await metric('meridian_websocket_connections')).toBe(0);
  });
});

async function metric(name: string): Promise<number> {
  return Number(/ ([\d.e+]+)$/m.exec((await node.metrics.registry.getSingleMetricAsString(name)).trim())?.[1]);
}
