/** Bad input, raw: each gets a clear error in the dialect's form, and the node goes on. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until, World } from '../world/world.ts';
import { compareBooks } from './books.ts';
import { sendHalf } from './half-sent.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ nodeEnv: { MERIDIAN_UPSTREAM_FIRST_BYTE_TIMEOUT_MS: '1500', MERIDIAN_UPSTREAM_IDLE_TIMEOUT_MS: '1500' } });
});
afterAll(() => world?.stop());

interface Got {
  readonly status: number;
  readonly headers: Headers;
  readonly error: { readonly code: string; readonly type: string; readonly message: string; readonly param: string | null };
  readonly text: string;
}

async function send(
  body: string | Buffer | undefined,
  options: { path?: string; headers?: Record<string, string>; method?: string; key?: string } = {},
): Promise<Got> {
  const response = await fetch(`${world.url('us')}${options.path ?? '/v1/chat/completions'}`, {
    method: options.method ?? 'POST',
    headers: { authorization: `Bearer ${options.key ?? world.apiKey}`, 'content-type': 'application/json', ...options.headers },
    ...(body === undefined ? {} : { body: new Uint8Array(Buffer.from(body)) }),
  });
  const text = await response.text();
  let error: Got['error'] = { code: '', type: '', message: '', param: null };
  try {
    error = (JSON.parse(text) as { error?: Got['error'] }).error ?? error;
  } catch {
    // Not JSON: the expectation on the code says so.
  }
  return { status: response.status, headers: response.headers, error, text };
}

const chat = (content: string, more: object = {}): string =>
  JSON.stringify({ model: 'gpt-5.4-mini', messages: [{ role: 'user', content }], ...more });

describe('a body that cannot be used', () => {
  it.each<[string, string | Buffer | undefined, string | null]>([
    ['none', undefined, null],
    ['empty', '', null],
    ['broken JSON', '{"model": "gpt-5.4-mini", "messages": [', null],
    ['not an object', '[1]', null],
    ['a bare string', '"hello"', null],
    ['no model', '{"messages": []}', 'model'],
    ['a number as model', '{"model": 5, "messages": []}', 'model'],
    ['no messages', '{"model": "gpt-5.4-mini"}', 'messages'],
    ['messages of the wrong type', '{"model": "gpt-5.4-mini", "messages": "hi"}', 'messages'],
    ['no message at all', '{"model": "gpt-5.4-mini", "messages": []}', 'messages'],
    ['stream of the wrong type', chat('hi', { stream: 'yes' }), 'stream'],
    ['max_tokens of the wrong type', chat('hi', { max_tokens: 'many' }), 'max_tokens'],
    ['a negative max_tokens', chat('hi', { max_tokens: -1 }), 'max_tokens'],
    ['n of zero', chat('hi', { n: 0 }), 'n'],
    ['an unknown service tier', chat('hi', { service_tier: 'gold' }), 'service_tier'],
    ['a duplicate key', '{"model": "gpt-5.4-mini", "model": "gpt-5.4", "messages": [{"role": "user", "content": "x"}]}', 'model'],
    ['an escaped key', '{"mod\\u0065l": "gpt-5.4-mini", "messages": [{"role": "user", "content": "x"}]}', 'model'],
    [
      'invalid UTF-8',
      Buffer.concat([
        Buffer.from('{"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "'),
        Buffer.from([0xff, 0xfe]),
        Buffer.from('"}]}'),
      ]),
      null,
    ],
  ])('%s: 400', async (_, body, param) => {
    const got = await send(body);
    expect(got.status).toBe(400);
    expect(got.error).toMatchObject({
      code: 'invalid_request_error',
      type: 'invalid_request_error',
      message: expect.stringMatching(/\w{4,}/),
    });
    if (param !== null) expect(got.error.param).toBe(param);
    expect(got.headers.get('x-request-id')).toMatch(/^req_/);
    expect(got.text).not.toMatch(/\.ts:|node_modules|at Object/);
  });

  it('of 40 MB: 413, whether its length is declared or not', async () => {
    const big = Buffer.alloc(40 * 1024 * 1024, 0x20);
    const declared = await send(big);
    expect(declared.status).toBe(413);
    expect(declared.error.code).toBe('request_too_large');
    const chunked = await fetch(`${world.url('us')}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json' },
      body: new ReadableStream({
        start(controller) {
          for (let at = 0; at < big.length; at += 1024 * 1024) controller.enqueue(new Uint8Array(big.subarray(at, at + 1024 * 1024)));
          controller.close();
        },
      }),
      duplex: 'half',
    });
    expect(chunked.status).toBe(413);
    await chunked.arrayBuffer();
  });

  it('in gzip works; broken gzip, a gzip bomb and other encodings do not', async () => {
    const good = await send(gzipSync(chat('Hello.')), { headers: { 'content-encoding': 'gzip' } });
    expect(good.status).toBe(200);
    expect((await send('not gzip', { headers: { 'content-encoding': 'gzip' } })).status).toBe(400);
    expect((await send(gzipSync(Buffer.alloc(64 * 1024 * 1024)), { headers: { 'content-encoding': 'gzip' } })).status).toBe(413);
    expect((await send(chat('x'), { headers: { 'content-encoding': 'br' } })).status).toBe(415);
  });
});

describe('a request that is not allowed', () => {
  it('has an unknown model: 404 with near names', async () => {
    const got = await send(JSON.stringify({ model: 'gpt-5.4-minni', messages: [{ role: 'user', content: 'x' }] }));
    expect(got.status).toBe(404);
    expect(got.error).toMatchObject({ code: 'model_not_found', param: 'model', near_names: expect.arrayContaining(['gpt-5.4-mini']) });
  });

  it('has a key with a wrong checksum, none, or nonsense: 401 before the body is read', async () => {
    const wrong = world.apiKey.slice(0, -1) + (world.apiKey.endsWith('0') ? '1' : '0');
    for (const key of [wrong, 'x', `sk-mrd-${'0'.repeat(33)}`, undefined]) {
      const half = await sendHalf(world.url('us'), '/v1/chat/completions', key, chat('x'));
      expect([half.status, half.error.code]).toEqual([401, 'invalid_api_key']);
    }
    expect((await send(chat('x'), { key: wrong })).error.code).toBe('invalid_api_key');
  });

  it('has an endpoint that is not there: 404 naming what to use instead', async () => {
    const old = await send('{}', { path: '/v1/completions' });
    expect(old.status).toBe(404);
    expect(old.error).toMatchObject({ code: 'unsupported_endpoint', message: expect.stringContaining('/v1/chat/completions') });
    expect((await send(undefined, { path: '/v1/chat/completions', method: 'GET' })).error.code).toBe('unsupported_endpoint');
    expect((await send('{}', { path: '/nothing/here' })).error.code).toBe('unsupported_endpoint');
  });

  it('has control characters in a header: 400 on the bare socket, in JSON', async () => {
    const url = new URL(world.url('us'));
    const socket = connect(Number(url.port), url.hostname);
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\u0001b\r\ncontent-length: 0\r\n\r\n`);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    await once(socket, 'close');
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"invalid_request_error"');
  });
});

describe('odd but fine', () => {
  it('carries unknown fields through and tolerates //v1, /api and trailing slashes', async () => {
    for (const path of ['//v1/chat/completions', '/api/v1/chat/completions/', '/v1//chat/completions']) {
      expect((await send(chat('Hello.', { some_new_field: { deep: [1, 2] } }), { path })).status).toBe(200);
    }
  });

  it('answers a preflight', async () => {
    const response = await fetch(`${world.url('us')}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST' },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect(response.headers.get('access-control-allow-headers')).toContain('authorization');
  });
});

describe('an upstream that misbehaves', () => {
  it.each<[string, number, string]>([
    ['status=500', 502, 'upstream_error'],
    ['status=401', 502, 'upstream_error'],
    ['not_json', 502, 'upstream_error'],
    ['malformed', 502, 'upstream_error'],
    ['reset', 502, 'upstream_error'],
    ['cut_after=1', 502, 'upstream_error'],
    ['silence', 504, 'upstream_timeout'],
  ])('with %s: %i in JSON, and nothing is charged', async (fault, status, code) => {
    const got = await send(chat(`Hello. [[sim ${fault}]]`, { max_tokens: 5 }));
    expect(got.status).toBe(status);
    expect(got.error.code).toBe(code);
    expect(got.text).not.toMatch(/sk-|at Object|\.ts:/);
  });

  it.each(['cut_after=3', 'reset_after=3', 'error_event_after=3', 'silence_after=3'])(
    'with %s in a stream: a typed error event, no false end',
    async (fault) => {
      const got = await send(chat(`Tell me a long story. [[sim ${fault};tokens=40]]`, { stream: true }));
      expect(got.status).toBe(200);
      const events = got.text.split('\n\n').filter((event) => event.startsWith('data: '));
      expect(JSON.parse(events.at(-1)?.slice(6) ?? '{}')).toMatchObject({
        error: { code: expect.stringMatching(/^upstream_(error|timeout)$/) },
      });
      expect(got.text).not.toContain('[DONE]');
    },
  );

  it.each(['status=503', 'reset', 'not_json', 'silence', 'malformed'])('with %s before a stream: a real status', async (fault) => {
    const got = await send(chat(`Hello. [[sim ${fault}]]`, { stream: true }));
    expect(got.status).toBeGreaterThanOrEqual(502);
    expect(got.error.code).toMatch(/^upstream_/);
  });

  it('that refuses what the client asked keeps its status and text', async () => {
    const got = await send(chat('Hello. [[sim status=400]]'));
    expect(got.status).toBe(400);
    expect(got.error.code).toBe('invalid_request_error');
  });
});

describe('a client that closes at any stage', () => {
  const request = (body: string): string =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.apiKey}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

  it('leaves nothing running and nothing lost', async () => {
    const url = new URL(world.url('us'));
    const whole = request(chat('Tell me. [[sim tokens=30;pace_ms=2]]', { stream: true }));
    const cuts = [5, 60, whole.indexOf('\r\n\r\n') + 2, whole.length - 10, whole.length];
    for (const cut of cuts) {
      for (const waitFor of ['nothing', 'head', 'events'] as const) {
        const socket = connect(Number(url.port), url.hostname);
        socket.on('error', () => {});
        await once(socket, 'connect');
        socket.write(whole.slice(0, cut));
        if (cut === whole.length && waitFor !== 'nothing') await once(socket, 'data');
        if (cut === whole.length && waitFor === 'events') await once(socket, 'data');
        socket.destroy();
      }
    }
    await world.upstreamIdle();
    await until(async () => (await world.gauge('us', 'meridian_running_requests')) === 0, 'all requests to be settled');
    expect((await send(chat('Still there?'))).status).toBe(200);
    await world.reported();
    expect((await compareBooks(world)).differences).toEqual([]);
  });
});
