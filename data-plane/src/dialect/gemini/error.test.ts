import { GatewayError } from '@meridian/domain/error';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { describe, expect, it } from 'vitest';
import { readUpstreamError } from '../upstream-error.ts';
import { renderError } from './error.ts';
import { gemini, geminiJsonArray } from './index.ts';

const rendered = (error: GatewayError) => {
  const { status, headers, body } = renderError(error, 'req_1');
  return { status, headers, error: JSON.parse(body.toString()).error };
};

const STATUSES: Readonly<Record<number, string>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  402: 'FAILED_PRECONDITION',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ABORTED',
  413: 'INVALID_ARGUMENT',
  415: 'INVALID_ARGUMENT',
  422: 'FAILED_PRECONDITION',
  429: 'RESOURCE_EXHAUSTED',
  499: 'CANCELLED',
  500: 'INTERNAL',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

describe('an error', () => {
  it.each(Object.keys(ERROR_CODES) as ErrorCode[])('has the shape of Google for %s', (code) => {
    const { status, error } = rendered(new GatewayError(code));
    expect(status).toBe(ERROR_CODES[code].status);
    expect(error).toMatchObject({ code: status, message: ERROR_CODES[code].message, status: STATUSES[status] });
    expect(error.details[0]).toMatchObject({ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: code.toUpperCase() });
  });

  it('names the field at fault and tells when to come back, in the header, too', () => {
    const { headers, error } = rendered(
      new GatewayError('rate_limit_exceeded', {
        param: 'contents',
        retryAfterSeconds: 2.2,
        details: { scope: 'key', left: 3 },
        cause: 'a secret',
      }),
    );
    expect(headers).toContain('retry-after');
    expect(headers[headers.indexOf('retry-after') + 1]).toBe('3');
    expect(error.details).toEqual([
      expect.objectContaining({ metadata: { request_id: 'req_1', scope: 'key', left: '3' } }),
      expect.objectContaining({ fieldViolations: [{ field: 'contents', description: 'Too many requests.' }] }),
      expect.objectContaining({ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '3s' }),
    ]);
    expect(JSON.stringify(error)).not.toContain('secret');
  });

  it('ends a stream in the framing of the stream', () => {
    const error = new GatewayError('upstream_timeout');
    expect(gemini.renderStreamError(error, 'req_1').toString()).toMatch(/^data: \{"error":\{.*\}\}\r\n\r\n$/);
    expect(JSON.parse(geminiJsonArray.renderStreamError(error, 'req_1').toString())).toMatchObject([
      { error: { code: 504, status: 'DEADLINE_EXCEEDED' } },
    ]);
    // What keeps the streams alive is nothing to a reader of either.
    expect(JSON.parse(`${geminiJsonArray.keepAlive}[${geminiJsonArray.keepAlive}1,${geminiJsonArray.keepAlive}2]`)).toEqual([1, 2]);
  });
});

describe("Google's own errors", () => {
  const of = (status: number, error: object): GatewayError => readUpstreamError(status, {}, Buffer.from(JSON.stringify({ error })));

  it('asks to wait as long as its details say', () => {
    const details = [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '34.4s' }];
    expect(of(429, { code: 429, message: 'Quota', status: 'RESOURCE_EXHAUSTED', details })).toMatchObject({
      code: 'upstream_error',
      retryAfterSeconds: 35,
    });
  });

  it('does not blame the client for a key of ours', () => {
    const details = [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' }];
    const error = of(400, { code: 400, message: 'API key not valid. Please pass a valid API key.', status: 'INVALID_ARGUMENT', details });
    expect(error).toMatchObject({ code: 'upstream_error', source: 'upstream' });
    expect(error.message).not.toContain('API key');
  });

  it("keeps what is the client's own doing", () => {
    expect(of(404, { code: 404, message: 'models/x is not found', status: 'NOT_FOUND' })).toMatchObject({
      code: 'model_not_found',
      status: 404,
    });
    expect(of(400, { code: 400, message: 'The input token count (9) exceeds the maximum', status: 'INVALID_ARGUMENT' }).details).toEqual({
      upstream_code: 'context_length_exceeded',
    });
  });
});
