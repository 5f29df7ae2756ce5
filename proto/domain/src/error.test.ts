import { describe, expect, it } from 'vitest';
import { GatewayError } from './error.ts';
import { ERROR_CODES, type ErrorCode } from './error-code.ts';

const codes = Object.keys(ERROR_CODES) as ErrorCode[]; // the catalogue's own keys

describe('an error', () => {
  it.each(codes)('%s takes status, text and retry from the catalogue', (code) => {
    const error = new GatewayError(code);
    expect(error).toMatchObject({ code, ...ERROR_CODES[code] });
    expect(error.cause).toBeUndefined();
    expect(error.source).toBe(error.status < 500 ? 'client' : 'gateway');
  });

  it('keeps its cause private: it is in no field that is written out', () => {
    const error = new GatewayError('upstream_error', { cause: new Error('sk-provider-key'), details: { attempts: 2 } });
    expect(error.cause).toBeInstanceOf(Error);
    expect(JSON.stringify({ ...error, message: error.message })).not.toContain('sk-provider-key');
  });

  it('may say more than the catalogue', () => {
    const error = new GatewayError('invalid_request_error', {
      status: 422,
      message: 'No.',
      param: 'n',
      retryAfterSeconds: 3,
      retryable: true,
      source: 'upstream',
    });
    expect(error).toMatchObject({ status: 422, message: 'No.', param: 'n', retryAfterSeconds: 3, retryable: true, source: 'upstream' });
  });
});

describe('anything thrown', () => {
  it('becomes an internal error with its cause, and an error of ours stays the same', () => {
    const ours = new GatewayError('overloaded');
    expect(GatewayError.from(ours)).toBe(ours);
    for (const thrown of [new Error('boom'), 'text', undefined, null, { code: 'overloaded' }]) {
      expect(GatewayError.from(thrown)).toMatchObject({ code: 'internal_error', status: 500, message: ERROR_CODES.internal_error.message });
    }
    expect(GatewayError.from('text').cause).toBe('text');
  });
});

describe('the catalogue', () => {
  it('has only error statuses, and lets nothing be retried that would fail alike', () => {
    for (const code of codes) {
      const { status, retryable } = ERROR_CODES[code];
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
      if (retryable) expect(status === 429 || status >= 500).toBe(true);
    }
  });
});
