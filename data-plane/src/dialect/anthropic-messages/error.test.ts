import { GatewayError } from '@meridian/domain/error';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { describe, expect, it } from 'vitest';
import { readUpstreamError } from '../upstream-error.ts';
import { renderError, renderStreamError } from './error.ts';

/** The types that this protocol publishes, and the one that it sends besides. */
const TYPES = [
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'request_too_large',
  'rate_limit_error',
  'timeout_error',
  'overloaded_error',
  'api_error',
];

const rendered = (error: GatewayError) => {
  const { status, headers, body } = renderError(error, 'req_1');
  return { status, headers, body: JSON.parse(body.toString('utf8')) };
};

describe('errors', () => {
  it.each(Object.keys(ERROR_CODES) as ErrorCode[])('%s has a shape and a type of this protocol', (code) => {
    const { body } = rendered(new GatewayError(code));
    expect(body).toMatchObject({ type: 'error', error: { message: ERROR_CODES[code].message, code }, request_id: 'req_1' });
    expect(TYPES).toContain(body.error.type);
  });

  it.each([
    ['invalid_request_error', 400, 'invalid_request_error'],
    ['invalid_api_key', 401, 'authentication_error'],
    ['insufficient_credits', 402, 'billing_error'],
    ['model_not_allowed', 403, 'permission_error'],
    ['model_not_found', 404, 'not_found_error'],
    ['conflict', 409, 'invalid_request_error'],
    ['request_too_large', 413, 'request_too_large'],
    ['rate_limit_exceeded', 429, 'rate_limit_error'],
    ['internal_error', 500, 'api_error'],
    ['upstream_error', 502, 'api_error'],
    ['overloaded', 529, 'overloaded_error'],
    ['budget_unavailable', 529, 'overloaded_error'],
    ['upstream_timeout', 504, 'timeout_error'],
  ] as const)('%s is %i %s', (code, status, type) => {
    const answer = rendered(new GatewayError(code));
    expect([answer.status, answer.body.error.type]).toEqual([status, type]);
  });

  it('carry the request id, the wait, whether a retry helps, and the public details', () => {
    const error = new GatewayError('rate_limit_exceeded', { retryAfterSeconds: 1.2, details: { limit: 5 }, param: 'model' });
    const { headers, body } = rendered(error);
    expect(headers).toEqual(['content-type', 'application/json', 'request-id', 'req_1', 'retry-after', '2']);
    expect(body.error).toMatchObject({ limit: 5, param: 'model' });
    expect(rendered(new GatewayError('conflict')).headers.slice(-2)).toEqual(['x-should-retry', 'false']);
  });

  it('name a prompt that is too long in the words that clients look for', () => {
    const error = new GatewayError('invalid_request_error', { message: 'Context!', details: { upstream_code: 'context_length_exceeded' } });
    expect(rendered(error).body.error.message).toBe('prompt is too long: Context!');
  });

  it('never tell a cause', () => {
    expect(JSON.stringify(rendered(new GatewayError('internal_error', { cause: 'secret' })))).not.toContain('secret');
  });

  it('are named events in a stream', () => {
    const text = renderStreamError(new GatewayError('overloaded'), 'req_1').toString('utf8');
    expect(text).toMatch(/^event: error\ndata: \{"type":"error",.*\}\n\n$/);
    expect(JSON.parse(text.split('data: ')[1] ?? '')).toMatchObject({ error: { type: 'overloaded_error' }, request_id: 'req_1' });
  });

  it.each([
    [529, 'overloaded_error', 'Overloaded', 'upstream_error'],
    [400, 'invalid_request_error', 'Your credit balance is too low to access the Anthropic API.', 'upstream_error'],
    [401, 'authentication_error', 'invalid x-api-key', 'upstream_error'],
    [404, 'not_found_error', 'model: claude-x', 'model_not_found'],
    [400, 'invalid_request_error', 'messages: text content blocks must be non-empty', 'invalid_request_error'],
  ])('of this provider are read: %i %s', (status, type, message, code) => {
    const body = Buffer.from(JSON.stringify({ type: 'error', error: { type, message }, request_id: 'req_x' }));
    expect(readUpstreamError(status, {}, body)).toMatchObject({ code });
  });

  it('of a prompt that was too long for this provider look to its clients as they would there', () => {
    const message = 'prompt is too long: 210000 tokens > 200000 maximum';
    const body = Buffer.from(JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message } }));
    expect(rendered(readUpstreamError(400, {}, body)).body.error).toMatchObject({ type: 'invalid_request_error', message });
  });
});
