import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { bodyOf } from './answer-body.ts';
import type { JournalLine } from './journal.ts';
import { startUpstream, type Upstream } from './server.ts';

let upstream: Upstream;

beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
});
afterAll(() => upstream.close());
afterEach(() => control('DELETE', '/__sim/faults'));

function control(method: string, path: string, body?: object): Promise<Response> {
  return fetch(upstream.origin + path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

interface Ask {
  stream?: boolean;
  sim?: string;
  text?: string;
  model?: string;
  path?: string;
}

function request(ask: Ask): { path: string; headers: Record<string, string>; body: string } {
  const { stream = false, sim, text = 'one two three four five', model = 'gpt-4o', path = '/v1/chat/completions' } = ask;
  return {
    path,
    headers: { authorization: 'Bearer sk-test-abcd', ...(sim === undefined ? {} : { 'x-sim': sim }) },
    body: JSON.stringify({
      model,
      stream,
      messages: [{ role: 'user', content: text }],
      ...(stream ? { stream_options: { include_usage: true } } : {}),
    }),
  };
}

function send(ask: Ask): Promise<Response> {
  const { path, headers, body } = request(ask);
  return fetch(upstream.origin + path, { method: 'POST', headers, body });
}

/** What arrives on a bare socket, and whether the peer ended it in order or reset it. */
function raw(ask: Ask, leave?: (seen: string) => boolean): Promise<{ bytes: string; end: 'end' | 'reset' | 'left' }> {
  const { path, headers, body } = request(ask);
  return new Promise((resolve) => {
    let bytes = '';
    const socket = connect(Number(new URL(upstream.origin).port), '127.0.0.1', () => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`POST ${path} HTTP/1.1\r\nhost: sim\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${lines.join('')}\r\n${body}`);
    });
    const done = (end: 'end' | 'reset' | 'left'): void => {
      socket.destroy();
      resolve({ bytes, end });
    };
    socket.on('data', (chunk) => {
      bytes += chunk;
      if (leave?.(bytes) === true) done('left');
    });
    socket.on('end', () => done('end'));
    socket.on('error', () => done('reset'));
  });
}

async function settled(): Promise<JournalLine> {
  while (upstream.open() > 0) await new Promise(setImmediate);
  const line = upstream.journal().at(-1);
  if (line === undefined) throw new Error('nothing was served');
  return line;
}

function events(text: string): string[] {
  return text.split('\n\n').filter((part) => part.startsWith('data: '));
}

test("status: the provider's own error, with its waiting time", async () => {
  const limited = await send({ sim: 'status=429 retry_after=7 retry_after_ms=6500' });
  expect([limited.status, limited.headers.get('retry-after'), limited.headers.get('retry-after-ms')]).toEqual([429, '7', '6500']);
  expect((await bodyOf(limited)).error).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' });
  expect((await bodyOf(send({ sim: 'status=429;code=insufficient_quota' }))).error.type).toBe('insufficient_quota');
  const router = await send({ sim: 'status=503', path: '/api/v1/chat/completions', model: 'a/b' });
  expect((await bodyOf(router)).error).toMatchObject({ code: 503, message: 'Provider returned error' });
  expect(await settled()).toMatchObject({ status: 503, usage: null, usage_sent: false, completed: true, fault: 'status=503' });
});

test('a mark in the last user message works as the header does, and marks may be for one provider or the first tries', async () => {
  expect((await send({ text: 'hello [[sim status=500]]' })).status).toBe(500);
  const text = 'hi [[sim provider=openrouter status=502]]';
  expect((await send({ text })).status).toBe(200);
  expect((await send({ text, path: '/api/v1/chat/completions', model: 'a/b' })).status).toBe(502);
  const flaky = { text: 'hi [[sim times=2 status=500]] [[ref r-1]]' };
  expect([(await send(flaky)).status, (await send(flaky)).status, (await send(flaky)).status]).toEqual([500, 500, 200]);
  expect(await settled()).toMatchObject({ client_marker: 'r-1', fault: null });
});

test('a mark in an embedding input works too', async () => {
  const response = await fetch(`${upstream.origin}/v1/embeddings`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-test' },
    body: JSON.stringify({ model: 'text-embedding-3-small', input: ['a', 'b [[sim status=500]] [[ref e-1]]'] }),
  });
  expect(response.status).toBe(500);
  expect(await settled()).toMatchObject({ client_marker: 'e-1', path: '/v1/embeddings' });
});

test('delays come before the head, or between head and body', async () => {
  const start = performance.now();
  await (await send({ sim: 'delay_ms=60' })).text();
  expect(performance.now() - start).toBeGreaterThan(55);
  const early = await send({ sim: 'first_byte_delay_ms=80', stream: true });
  const head = performance.now();
  await early.text();
  expect(performance.now() - head).toBeGreaterThan(50);
});

test('reset before the head gives no byte', async () => {
  expect(await raw({ sim: 'reset' })).toEqual({ bytes: '', end: 'reset' });
  expect(await settled()).toMatchObject({ head_sent: false, completed: false, aborted_by_client: false, usage_sent: false });
});

test('reset after n chunks gives exactly those', async () => {
  const { bytes, end } = await raw({ sim: 'reset_after=3', stream: true });
  expect([bytes.match(/data: /g)?.length, end]).toEqual([3, 'reset']);
  expect(await settled()).toMatchObject({ head_sent: true, completed: false, aborted_by_client: false, usage_sent: false, pieces_sent: 2 });
});

test('cut_after ends a stream in order but without its last events', async () => {
  const text = await (await send({ sim: 'cut_after=2', stream: true })).text();
  expect(events(text).length).toBe(2);
  expect(text).not.toContain('[DONE]');
  expect(await settled()).toMatchObject({ completed: false, aborted_by_client: false, pieces_sent: 1, usage_sent: false });
  const hard = await raw({ sim: 'cut_after=2 cut_hard', stream: true });
  expect([hard.end, hard.bytes.endsWith('0\r\n\r\n')]).toEqual(['end', false]);
});

test('cut_after on JSON promises more bytes than it sends', async () => {
  const { bytes, end } = await raw({ sim: 'cut_after=20' });
  const [head = '', body = ''] = bytes.split('\r\n\r\n');
  expect([end, body.length, Number(/content-length: (\d+)/.exec(head)?.[1]) > 100]).toEqual(['end', 20, true]);
  expect(await settled()).toMatchObject({ completed: false, aborted_by_client: false, usage_sent: false, pieces_sent: 0 });
});

test('silence after the head or after n chunks lasts until the caller leaves', async () => {
  for (const [sim, chunks] of [
    ['silence_after=0', 0],
    ['silence_after=2', 2],
  ] as const) {
    const { bytes, end } = await raw(
      { sim, stream: true },
      (seen) => seen.includes('\r\n\r\n') && (seen.match(/data: /g)?.length ?? 0) === chunks,
    );
    expect([bytes.startsWith('HTTP/1.1 200'), end]).toEqual([true, 'left']);
    expect(await settled()).toMatchObject({ head_sent: true, completed: false, aborted_by_client: true, fault: sim });
  }
});

test('silence before the head gives no byte, and a stopping upstream says that it cut the call itself', async () => {
  const other = await startUpstream({ port: 0 });
  const { headers, body } = request({ sim: 'silence' });
  const call = fetch(`${other.origin}/v1/chat/completions`, { method: 'POST', headers, body });
  const outcome = call.then(
    () => 'answered',
    () => 'cut',
  );
  while (other.open() === 0) await new Promise(setImmediate);
  await other.close();
  expect(await outcome).toBe('cut');
  expect(other.journal()).toMatchObject([{ head_sent: false, completed: false, aborted_by_client: false, fault: 'silence' }]);
});

test('malformed breaks the JSON of a body, and of one event of a stream', async () => {
  const body = await (await send({ sim: 'malformed' })).text();
  expect(() => JSON.parse(body)).toThrow(SyntaxError);
  expect(await settled()).toMatchObject({ completed: true, usage_sent: false });
  const all = events(await (await send({ sim: 'malformed=3', stream: true })).text());
  const broken = all.map((event) => {
    if (event === 'data: [DONE]') return false;
    try {
      JSON.parse(event.slice(6));
      return false;
    } catch {
      return true;
    }
  });
  expect(broken.flatMap((is, at) => (is ? [at + 1] : []))).toEqual([3]);
});

test('oversize sends an event of 9 MiB and then nothing', async () => {
  const leaving = new AbortController();
  const { path, headers, body } = request({ sim: 'oversize=4', stream: true });
  const answer = await fetch(upstream.origin + path, { method: 'POST', headers, body, signal: leaving.signal });
  let text = '';
  for await (const bytes of answer.body ?? []) {
    text += Buffer.from(bytes).toString('latin1');
    if (text.endsWith('"}\n\n')) break;
  }
  leaving.abort();
  expect(events(text).map(({ length }) => length > 8 * 1024 * 1024)).toEqual([false, false, false, true]);
  expect(await settled()).toMatchObject({ completed: false, aborted_by_client: true, pieces_sent: 2 });
});

test('not_json, empty, no_usage, tokens, huge', async () => {
  const html = await send({ sim: 'not_json' });
  expect([html.status, html.headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8']);
  expect((await send({ sim: 'not_json status=502' })).status).toBe(502);
  const empty = await bodyOf(send({ sim: 'empty' }));
  expect([empty.choices[0]?.message.content, empty.usage?.completion_tokens]).toEqual(['', 0]);
  expect((await bodyOf(send({ sim: 'no_usage' }))).usage).toBeUndefined();
  expect(await settled()).toMatchObject({ usage: { prompt_tokens: 13 }, usage_sent: false, completed: true });
  const stream = await (await send({ sim: 'no_usage', stream: true })).text();
  expect(stream).not.toContain('prompt_tokens');
  const padding = await (await send({ sim: 'padding=3' })).text();
  expect([padding.startsWith('\n         \n'), JSON.parse(padding).object]).toEqual([true, 'chat.completion']);
  expect((await bodyOf(send({ sim: 'tokens=123' }))).usage?.completion_tokens).toBe(123);
  const huge = await (await send({ sim: 'huge=3000000', stream: true })).text();
  expect(huge.length).toBeGreaterThan(3_000_000);
  expect(await settled()).toMatchObject({ completed: true, pieces_sent: Math.ceil(3_000_000 / 1024) });
});

test('seed_usage tells a part of the usage first and no more of it, extra_output more than is there', async () => {
  const told = events(await (await send({ sim: 'seed_usage', stream: true })).text()).filter((event) =>
    event.includes('completion_tokens'),
  );
  expect(told.map((event) => JSON.parse(event.slice(6)).usage)).toMatchObject([{ prompt_tokens: 13, completion_tokens: 1 }]);
  expect(await settled()).toMatchObject({ usage: { completion_tokens: 7 }, usage_sent: false, completed: true });
  expect((await bodyOf(send({ sim: 'tokens=3 extra_output=20' }))).usage?.completion_tokens).toBe(23);
});

test("error_event_after speaks in the middle of a stream, in the provider's form", async () => {
  const openai = events(await (await send({ sim: 'error_event_after=2 status=500', stream: true })).text());
  expect(openai.length).toBe(3);
  expect(JSON.parse(openai[2]?.slice(6) ?? '')).toMatchObject({ error: { type: 'server_error' } });
  expect(await settled()).toMatchObject({ status: 200, completed: false, usage_sent: false, pieces_sent: 1 });
  const router = events(
    await (await send({ sim: 'error_event_after=2', stream: true, path: '/api/v1/chat/completions', model: 'a/b' })).text(),
  );
  expect(JSON.parse(router[2]?.slice(6) ?? '')).toMatchObject({ error: { code: 500 }, choices: [{ finish_reason: 'error' }] });
  expect(router[3]).toBe('data: [DONE]');
});

test('rules reach a share of the calls they match, the same share for the same seed', async () => {
  const outcome = async (): Promise<number[]> => {
    await control('DELETE', '/__sim/faults');
    await control('POST', '/__sim/faults', { match: { model: 'gpt-*' }, rate: 0.5, seed: 42, status: 503 });
    const statuses: number[] = [];
    for (let i = 0; i < 20; i++) statuses.push((await send({})).status);
    return statuses;
  };
  const first = await outcome();
  expect(await outcome()).toEqual(first);
  expect(new Set(first)).toEqual(new Set([200, 503]));
  expect((await send({ model: 'o3' })).status).toBe(200);
  const rules = await (await control('GET', '/__sim/faults')).json();
  expect(rules).toMatchObject([{ hits: first.filter((status) => status === 503).length }]);
});

test('a rule may run out, be removed by its id, and be wrong', async () => {
  await control('POST', '/__sim/faults', { times: 1, fault: 'status=500' });
  expect([(await send({})).status, (await send({})).status]).toEqual([500, 200]);
  const { id } = await bodyOf(control('POST', '/__sim/faults', { match: { path: '/v1/*' }, status: 500 }));
  expect((await send({})).status).toBe(500);
  await control('DELETE', `/__sim/faults/${id}`);
  expect((await send({})).status).toBe(200);
  const wrong = await control('POST', '/__sim/faults', { sttus: 500 });
  expect([wrong.status, (await bodyOf(wrong)).error]).toEqual([400, expect.stringContaining('there is no knob sttus')]);
});

test('a caller that leaves in the middle is written down with what it was sent', async () => {
  const { bytes } = await raw({ sim: 'pace_ms=5 tokens=200', stream: true }, (seen) => (seen.match(/data: /g)?.length ?? 0) >= 6);
  const line = await settled();
  const got = (bytes.match(/data: /g)?.length ?? 0) - 1;
  expect(line).toMatchObject({ completed: false, aborted_by_client: true, usage_sent: false, usage: { completion_tokens: 200 } });
  expect(line.pieces_sent).toBeGreaterThanOrEqual(got);
  expect(line.pieces_sent).toBeLessThan(200);
});

test.each([true, false])('a caller that stops reading is not counted as served (streamed: %s)', async (stream) => {
  const { path, headers, body } = request({ sim: 'huge=50000000', stream });
  const socket = connect(Number(new URL(upstream.origin).port), '127.0.0.1');
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`POST ${path} HTTP/1.1\r\nhost: sim\r\ncontent-length: ${body.length}\r\n${lines.join('')}\r\n${body}`);
  await once(socket, 'data');
  socket.pause();
  expect(upstream.open()).toBe(1);
  socket.destroy();
  const line = await settled();
  expect(line).toMatchObject({ completed: false, aborted_by_client: true, usage_sent: false });
  expect(line.pieces_sent).toBeLessThan(stream ? Math.ceil(50_000_000 / 1024) : 1);
});

test("the journal is read from a number on, with the caller's own ids", async () => {
  const { path, headers, body } = request({ text: 'x [[ref order-7]]' });
  await (await fetch(upstream.origin + path, { method: 'POST', headers: { ...headers, 'x-client-request-id': 'req-1' }, body })).text();
  const last = await settled();
  expect(last).toMatchObject({
    request_id: 'req-1',
    client_marker: 'order-7',
    key_fingerprint: 'abcd',
    provider: 'openai',
    completed: true,
  });
  expect(await bodyOf(control('GET', `/__sim/journal?after=${last.n - 1}`))).toEqual([last]);
  await control('DELETE', '/__sim/journal');
  expect(upstream.journal()).toEqual([]);
});
