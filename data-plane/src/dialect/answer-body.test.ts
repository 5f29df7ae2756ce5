import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { MAX_NESTING_LEVELS } from './json-scanner.ts';
import { dialectOf } from './registry.ts';

const DIALECTS = (['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'] as const).map(
  (name) => [name, dialectOf(name)] as const,
);

function thrownBy(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    return error;
  }
}

describe.each(DIALECTS)('an answer of %s that is none', (_name, dialect) => {
  it.each([
    ['no JSON', '{"id":'],
    ['no object', '[]'],
    ['deeper than the limit', `{"metadata":${'['.repeat(MAX_NESTING_LEVELS)}${']'.repeat(MAX_NESTING_LEVELS)}}`],
  ])('is the fault of its provider in both lanes: %s', (_what, text) => {
    for (const read of [() => dialect.readAnswer('chat', Buffer.from(text)), () => dialect.decodeResponse(Buffer.from(text))]) {
      expect(thrownBy(read)).toMatchObject({ code: 'upstream_error', source: 'upstream' });
    }
  });

  it('is the error that it tells, though it comes as a success', () => {
    const body = Buffer.from(
      JSON.stringify({ error: { type: 'rate_limit_error', code: 429, status: 'RESOURCE_EXHAUSTED', message: 'Slow down.' } }),
    );
    const passed = thrownBy(() => dialect.readAnswer('chat', body));
    const translated = thrownBy(() => dialect.decodeResponse(body));
    expect(passed).toBeInstanceOf(GatewayError);
    expect(translated).toEqual(passed);
  });
});
