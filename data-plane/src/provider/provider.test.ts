import { GatewayError } from '@meridian/domain/error';
import type { Endpoint, Provider } from '@meridian/domain/snapshot';
import { describe, expect, it } from 'vitest';
import { providerFor } from './registry.ts';

function provider(change: Partial<Provider> = {}): Provider {
  return {
    id: 'prv_1',
    name: 'A provider',
    origin: 'https://api.example.com',
    basePath: '/v1',
    adapter: 'openai',
    enabled: true,
    ...change,
  };
}

const endpoint: Endpoint = {
  id: 'end_1',
  modelId: 'gpt-5.4',
  providerId: 'prv_1',
  credentialId: 'crd_1',
  upstreamModel: 'gpt-5.4-2026-03-05',
  dialect: 'openai-chat',
  operations: ['chat', 'embeddings'],
  regions: [],
  priority: 0,
  enabled: true,
  cost: { endpointId: 'end_1', version: 1, effectiveFromMs: 0, cards: [] },
};

/** Flat headers as pairs; a repeated name would show. */
function pairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[index * 2] ?? '', flat[index * 2 + 1] ?? '']);
}

function target(adapter: string, change: Partial<Provider> = {}, operation: 'chat' | 'embeddings' = 'chat') {
  const found = providerFor(adapter)?.target({
    provider: provider(change),
    endpoint,
    secret: 'sk-secret',
    operation,
    stream: false,
    passOn: [],
    requestId: 'req_1',
  });
  if (found === undefined) throw new Error(`no adapter ${adapter}`);
  return { ...found, headers: pairs(found.headers) };
}

describe('the registry', () => {
  it.each(['openai', 'openrouter', 'openai-compatible'])('knows %s by its own name', (name) => {
    expect(providerFor(name)?.name).toBe(name);
  });

  it('knows nothing else, names of object members included', () => {
    for (const name of ['', 'OpenAI', 'constructor', '__proto__']) expect(providerFor(name)).toBeUndefined();
  });
});

describe('a target', () => {
  it.each([
    ['openai', '/v1', 'chat', '/v1/chat/completions'],
    ['openai', '/v1', 'embeddings', '/v1/embeddings'],
    ['openrouter', '/api/v1', 'chat', '/api/v1/chat/completions'],
    ['openai-compatible', '', 'chat', '/chat/completions'],
    ['openai-compatible', '/openai/v1/', 'embeddings', '/openai/v1/embeddings'],
  ] as const)('of %s under %j for %s is %s', (adapter, basePath, operation, path) => {
    expect(target(adapter, { basePath }, operation)).toMatchObject({ origin: 'https://api.example.com', path });
  });

  it.each([
    ['openai', 'x-client-request-id'],
    ['openrouter', 'x-request-id'],
    ['openai-compatible', 'x-request-id'],
  ])('of %s carries the secret, our request id in %s, and asks for plain bytes', (adapter, requestIdHeader) => {
    expect(target(adapter).headers).toEqual([
      ['authorization', 'Bearer sk-secret'],
      ['content-type', 'application/json'],
      ['accept-encoding', 'identity'],
      [requestIdHeader, 'req_1'],
    ]);
  });

  it('carries the secret as the data of the provider says', () => {
    expect(target('openai-compatible', { auth: { header: 'api-key', prefix: '' } }).headers[0]).toEqual(['api-key', 'sk-secret']);
    expect(target('openai-compatible', { auth: { header: 'authorization', prefix: 'Key ' } }).headers[0]).toEqual([
      'authorization',
      'Key sk-secret',
    ]);
    const anthropic = providerFor('anthropic')?.target({
      provider: provider({ auth: { header: 'authorization', prefix: 'Bearer ' } }),
      endpoint: { ...endpoint, dialect: 'anthropic-messages' },
      secret: 'sk-secret',
      operation: 'chat',
      stream: false,
      passOn: [],
      requestId: 'r',
    });
    const headers = pairs(anthropic?.headers ?? []);
    expect(headers).toContainEqual(['authorization', 'Bearer sk-secret']);
    expect(headers.map(([name]) => name)).toContain('anthropic-version');
    expect(headers.map(([name]) => name)).not.toContain('x-api-key');
  });

  it('is refused for a dialect that the provider does not speak, as our own fault and without the secret', () => {
    const call = {
      provider: provider(),
      endpoint: { ...endpoint, dialect: 'gemini' as const },
      secret: 'sk-secret',
      operation: 'chat' as const,
      stream: false,
      passOn: [],
      requestId: 'r',
    };
    let thrown: unknown;
    try {
      providerFor('openai')?.target(call);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(GatewayError);
    expect(thrown).toMatchObject({ code: 'upstream_error', source: 'gateway', retryable: false });
    expect(JSON.stringify(thrown) + String((thrown as GatewayError).cause)).not.toContain('sk-secret');
  });
});

describe('the ways of a provider', () => {
  it('are those of its adapter, and its own', () => {
    expect(providerFor('openai')?.quirks(provider())).toEqual(['no_reasoning_input']);
    expect(providerFor('openai-compatible')?.quirks(provider({ quirks: ['max_tokens'] }))).toEqual([
      'system_role',
      'no_custom_tools',
      'max_tokens',
    ]);
    expect(providerFor('gemini')?.quirks(provider())).toEqual([]);
    expect(providerFor('gemini')?.quirks(provider({ quirks: ['no_user'] }))).toEqual(['no_user']);
  });
});

describe("the provider's request id", () => {
  it.each([
    ['openai', { 'x-request-id': 'req_abc' }, 'req_abc'],
    ['openrouter', { 'x-generation-id': 'gen-1', 'cf-ray': 'ray' }, 'gen-1'],
    ['openrouter', { 'cf-ray': 'ray' }, 'ray'],
    ['openai-compatible', { 'apim-request-id': 'a', 'x-request-id': 'b' }, 'b'],
    ['openai-compatible', { 'x-request-id': '', 'cf-ray': 'ray' }, 'ray'],
    ['openai-compatible', {}, undefined],
  ])('of %s in %j is %s', (adapter, headers: Record<string, string>, id) => {
    expect(providerFor(adapter)?.upstreamRequestId(headers)).toBe(id);
  });
});
