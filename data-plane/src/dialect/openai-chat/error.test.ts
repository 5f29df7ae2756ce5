import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { errorFromAnswer, publicText, readUpstreamError } from '../upstream-error.ts';
import { renderError, renderStreamError } from './error.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded errors in ${FIXTURES}`);

const upstream = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  readUpstreamError(status, headers, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));

describe('a rendered error', () => {
  it('has the shape the SDKs read', () => {
    const error = new GatewayError('budget_exceeded', {
      message: 'No room.',
      param: 'max_tokens',
      details: { scope: 'key', message: 'shadowed' },
    });
    const rendered = renderError(error, 'req_1');
    expect(rendered.status).toBe(402);
    expect(JSON.parse(rendered.body.toString())).toEqual({
      error: { message: 'No room.', type: 'budget_exceeded', code: 'budget_exceeded', param: 'max_tokens', scope: 'key' },
    });
    expect(rendered.headers).toEqual(['content-type', 'application/json', 'x-should-retry', 'false']);
  });

  it('has the code of a context overflow, by which programs make room', () => {
    const error = upstream(400, { error: { message: 'prompt is too long: 210000 tokens > 200000 maximum' } });
    const { body } = renderError(error, 'req_1');
    expect(JSON.parse(body.toString()).error).toMatchObject({ code: 'context_length_exceeded', type: 'invalid_request_error' });
    expect(renderStreamError(error, 'req_1').toString()).toContain('"code":"context_length_exceeded"');
  });

  it('says when a retry makes sense', () => {
    expect(renderError(new GatewayError('overloaded', { retryAfterSeconds: 1.2 }), 'r').headers).toEqual([
      'content-type',
      'application/json',
      'retry-after',
      '2',
    ]);
  });

  it('is one data event inside a stream', () => {
    const text = renderStreamError(new GatewayError('upstream_error', { message: 'a\nb' }), 'r').toString();
    expect(text).toMatch(/^data: [^\n]+\n\n$/);
    expect(JSON.parse(text.slice(6))).toMatchObject({ error: { message: 'a\nb', code: 'upstream_error', param: null } });
  });
});

describe('an error of the client', () => {
  it.each([
    [{ error: { message: 'Bad n.', type: 'invalid_request_error', param: 'n', code: 'x' } }, 'Bad n.', 'n'],
    [{ error: { code: 400, message: 'Too many parts.', status: 'INVALID_ARGUMENT', details: [] } }, 'Too many parts.', undefined],
    [[{ error: { code: 400, message: 'In a list.', status: 'INVALID_ARGUMENT' } }], 'In a list.', undefined],
    [{ type: 'error', error: { type: 'invalid_request_error', message: 'Empty text.' }, request_id: 'r' }, 'Empty text.', undefined],
    [{ code: 'invalid-argument', error: 'Unknown field.' }, 'Unknown field.', undefined],
    [{ detail: 'Model not supported.' }, 'Model not supported.', undefined],
    [{ detail: [{ loc: ['body', 'messages'], msg: 'Field required' }] }, 'body.messages: Field required', undefined],
    [{ message: 'Malformed input.' }, 'Malformed input.', undefined],
    [{ id: 'i', message: 'invalid request' }, 'invalid request', undefined],
  ])('keeps status and text of %j', (body, text, param) => {
    expect(upstream(400, body)).toMatchObject({
      code: 'invalid_request_error',
      source: 'client',
      status: 400,
      retryable: false,
      message: text,
      param,
    });
    expect(upstream(422, body)).toMatchObject({ code: 'invalid_request_error', status: 422, message: text });
  });

  it('keeps 404 and 413', () => {
    expect(upstream(404, { error: { message: 'No such model.', code: 'model_not_found' } })).toMatchObject({
      code: 'model_not_found',
      status: 404,
    });
    expect(upstream(413, '<html>too large</html>')).toMatchObject({
      code: 'request_too_large',
      status: 413,
      message: 'The request body is too large.',
    });
  });

  it.each([
    "This model's maximum context length is 128000 tokens.",
    'prompt is too long: 210000 tokens > 200000 maximum',
    'The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).',
  ])('names a context overflow by one code: %s', (message) => {
    expect(upstream(400, { error: { message } }).details).toMatchObject({ upstream_code: 'context_length_exceeded' });
  });

  it('may be tried again where the model failed at its tool call', () => {
    expect(
      upstream(400, { error: { message: 'Failed to call a function.', code: 'tool_use_failed', failed_generation: 'f(' } }),
    ).toMatchObject({ retryable: true, details: { failed_generation: 'f(' } });
  });
});

describe('an error of ours at the provider', () => {
  it.each([
    [401, { error: { message: 'Incorrect API key provided: sk-abc***xyz.', code: 'invalid_api_key' } }],
    [403, { message: 'The security token included in the request is invalid.' }],
    [402, { error: { message: 'Insufficient credits of org-1234567890.' } }],
    [
      400,
      {
        error: {
          code: 400,
          message: 'API key not valid. Please pass a valid API key.',
          status: 'INVALID_ARGUMENT',
          details: [{ reason: 'API_KEY_INVALID' }],
        },
      },
    ],
    [400, { code: 'invalid-argument', error: 'Incorrect API key provided: xai-12***cd.' }],
  ])('%s %j is told to nobody, and kept for the log', (status, body) => {
    const error = upstream(status, body);
    expect(error).toMatchObject({
      code: 'upstream_error',
      status: 502,
      source: 'upstream',
      retryable: true,
      message: 'The provider could not answer the request.',
      details: undefined,
    });
    expect(String(error.cause)).toContain(String(status));
  });
});

describe('an error of the provider', () => {
  it.each([429, 500, 502, 503, 504, 529, 409])('%s may be tried elsewhere', (status) => {
    expect(upstream(status, { error: { message: 'Overloaded' } })).toMatchObject({
      code: 'upstream_error',
      status: 502,
      source: 'upstream',
      retryable: true,
    });
  });

  const OUR_LIMITS = [
    {
      error: {
        message: 'Rate limit reached for gpt-5.4 in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 5000.',
        type: 'tokens',
        code: 'rate_limit_exceeded',
      },
    },
    { error: { message: 'You exceeded your current quota, please check your plan and billing details.', type: 'insufficient_quota' } },
    {
      type: 'error',
      error: { type: 'rate_limit_error', message: "This request would exceed your organization's rate limit of 50 requests per minute." },
    },
    { error: { code: 'rate_limit_exceeded', message: 'Limit 30000, Used 29000.' } },
    { error: { message: 'Limit 30000, Used 29000.', status: 'RESOURCE_EXHAUSTED' } },
  ];

  it.each(OUR_LIMITS)('does not tell what our limits are: %j', (body) => {
    const hidden = { status: 502, code: 'upstream_error', retryable: true, message: 'The provider takes no more requests at the moment.' };
    const error = upstream(429, body, { 'retry-after': '7' });
    expect(error).toMatchObject({ ...hidden, retryAfterSeconds: 7 });
    expect(String(error.cause)).toContain('429: ');
    expect(errorFromAnswer(body)).toMatchObject(hidden);
  });

  it.each([
    { type: 'error', error: { type: 'permission_error', message: 'Not allowed for workspace w1.' } },
    { type: 'error', error: { type: 'authentication_error', message: 'invalid x-api-key' } },
    { error: { message: 'Your account is not active, please check your billing details.', code: 'billing_not_active' } },
    { error: { code: 403, message: 'Project 123 may not.', status: 'PERMISSION_DENIED' } },
  ])('does not tell of our account in a stream: %j', (body) => {
    expect(errorFromAnswer(body)).toMatchObject({ code: 'upstream_error', message: 'The provider could not answer the request.' });
  });

  it('tells what else went wrong', () => {
    expect(upstream(500, { error: { message: 'The server had an error.' } }).message).toContain('The server had an error.');
    expect(errorFromAnswer({ error: { message: 'Overloaded', type: 'overloaded_error' } }).message).toContain('Overloaded');
  });

  it.each([
    [{ 'retry-after': '7' }, {}, 7],
    [{ 'retry-after-ms': '1500', 'retry-after': '9' }, {}, 2],
    [{ 'retry-after': 'Wed, 21 Oct 2026 07:28:30 GMT', date: 'Wed, 21 Oct 2026 07:28:00 GMT' }, {}, 30],
    [{ 'retry-after': 'Wed, 21 Oct 2026 07:28:30 GMT' }, {}, undefined],
    [{ 'retry-after': 'soon' }, {}, undefined],
    [{}, { error: { details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '34.07s' }] } }, 35],
    [{}, {}, undefined],
  ])('passes on the wait it asks for: %j %j', (headers, body, seconds) => {
    expect(upstream(429, body, headers).retryAfterSeconds).toBe(seconds);
  });

  it('may answer in anything', () => {
    for (const body of ['', '<html>', '[]', 'null', '7', '{"error":[]}', '{"error":{"message":{}}}', '{"detail":[1]}'])
      expect(upstream(500, body)).toBeInstanceOf(GatewayError);
  });
});

describe('public text', () => {
  it.each([
    'Incorrect key sk-proj-abcDEF123456 given',
    'key sk-secretsecretsecret',
    'Bad key: AIzaSyD-1234567890abcdefg.',
    'Authorization: Bearer abc.def-ghi',
    'xai-12***********cd',
    'gsk_ABCDEF0123456789',
    'Rate limit for organization org-AbC123456789xyz',
    'id AKIAIOSFODNN7EXAMPLE',
    'token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc',
    'secret 0123456789abcdef0123456789abcdef01',
  ])('carries no key: %s', (text) => {
    const clean = publicText(text);
    expect(clean).toContain('[redacted]');
    expect(clean).not.toMatch(/sk-|AIza|abc\.def|\*\*|gsk_A|org-A|AKIA|eyJ|0123456789abcdef/);
  });

  it('leaves ordinary words alone', () => {
    const text =
      "Unsupported parameter: 'max_completion_tokens' (api_version 2024, task-oriented, sketch-like) for gpt-5.4-2026-03-05, request 0f8fad5b-d9cb-469f-a165-70867728950e.";
    expect(publicText(text)).toBe(text);
  });

  it('is bounded', () => {
    expect(publicText('x '.repeat(10_000)).length).toBe(2_000);
  });
});

describe('recorded error answers', () => {
  it.skipIf(!present)('all become errors whose text carries no key', () => {
    let seen = 0;
    for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.json') || name.endsWith('.meta.json') || !existsSync(join(FIXTURES, `${name}.meta.json`))) continue;
      const { response } = JSON.parse(readFileSync(join(FIXTURES, `${name}.meta.json`), 'utf8'));
      if (!(response?.status >= 400)) continue;
      const error = readUpstreamError(response.status, response.headers ?? {}, readFileSync(join(FIXTURES, name)));
      seen++;
      expect(error.message, name).not.toMatch(/sk-|AIza/);
      const isClients = [400, 404, 413, 422].includes(response.status) && !/api key/i.test(String(error.cause));
      expect(error.status, name).toBe(isClients ? response.status : 502);
      if (isClients) expect(error.message, name).not.toBe('The request is not valid.');
    }
    expect(seen).toBeGreaterThan(15);
  });
});
