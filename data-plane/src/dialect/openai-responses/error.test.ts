import { GatewayError } from '@meridian/domain/error';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { describe, expect, it } from 'vitest';
import { renderError, renderStreamError } from './error.ts';
import { eventsOf } from './testing.ts';

const CODES = Object.keys(ERROR_CODES) as ErrorCode[];
const bodyOf = (error: GatewayError) => JSON.parse(renderError(error, 'req_1').body.toString());

describe('an error', () => {
  it.each(CODES)('%s has its status, and its code in both places', (code) => {
    const error = new GatewayError(code, { message: 'Told.', cause: 'secret' });
    const { status, body } = renderError(error, 'req_1');
    expect(status).toBe(ERROR_CODES[code].status);
    expect(JSON.parse(body.toString())).toEqual({ error: { message: 'Told.', type: code, code, param: null } });
  });

  it('keeps its parameter, its details and its wait', () => {
    const error = new GatewayError('rate_limit_exceeded', { param: 'model', details: { scope: 'key' }, retryAfterSeconds: 1.2 });
    expect(bodyOf(error).error).toMatchObject({ param: 'model', scope: 'key' });
    expect(renderError(error, 'req_1').headers).toEqual(['content-type', 'application/json', 'retry-after', '2']);
    expect(renderError(new GatewayError('invalid_request_error'), 'req_1').headers).toEqual([
      'content-type',
      'application/json',
      'x-should-retry',
      'false',
    ]);
  });

  it.each([
    [{ upstream_code: 'context_length_exceeded' }, 'context_length_exceeded'],
    [{ upstream_code: 'invalid_type' }, 'invalid_request_error'],
    [{ code: 'previous_response_not_found' }, 'previous_response_not_found'],
  ])('with %j has the code %s', (details, code) => {
    expect(bodyOf(new GatewayError('invalid_request_error', { details })).error).toMatchObject({ type: 'invalid_request_error', code });
  });
});

describe('a stream of nothing but an error', () => {
  it('is an error and the end of a response', () => {
    const events = eventsOf(renderStreamError(new GatewayError('upstream_timeout'), 'req_abc'));
    expect(events).toMatchObject([
      { type: 'error', sequence_number: 0, code: 'upstream_timeout', param: null, error: { type: 'upstream_timeout' } },
      {
        type: 'response.failed',
        sequence_number: 1,
        response: { id: 'resp_abc', object: 'response', status: 'failed', output: [], usage: null },
      },
    ]);
  });

  it.each([
    ['rate_limit_exceeded', {}, 'rate_limit_exceeded'],
    ['insufficient_credits', {}, 'insufficient_quota'],
    ['overloaded', {}, 'server_is_overloaded'],
    ['invalid_request_error', {}, 'invalid_prompt'],
    ['invalid_request_error', { upstream_code: 'context_length_exceeded' }, 'context_length_exceeded'],
    ['upstream_error', {}, 'server_error'],
    ['internal_error', {}, 'server_error'],
  ] as const)('tells agents of %s %j as %s', (code, details, word) => {
    const [, failed] = eventsOf(renderStreamError(new GatewayError(code, { details }), 'req_abc'));
    expect(failed).toMatchObject({ response: { error: { code: word } } });
  });
});
