import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import type { EmbeddingRequest } from '../../canonical/embedding.ts';
import { embeddings } from './embeddings.ts';

const TERMS = { model: 'up', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
const body = ({ body: pieces }: { readonly body: readonly Buffer[] }): unknown => JSON.parse(Buffer.concat([...pieces]).toString());
const decode = (value: object, form: string): EmbeddingRequest =>
  embeddings.decodeRequest(Buffer.from(JSON.stringify(value)), { model: 'asked', form });
const input = (text: string): object => ({ content: { parts: [{ text }] } });
const OF_CHAT: EmbeddingRequest = {
  dialect: 'openai-chat',
  model: 'm',
  inputs: ['a', 'b'],
  isSingle: false,
  dimensions: 8,
  encoding: 'base64',
  user: 'u',
  rest: { x: 1 },
};

describe('embeddings', () => {
  it('reads one input, and a list of them', () => {
    expect(decode({ ...input('a'), task_type: 'RETRIEVAL_QUERY', outputDimensionality: 8 }, 'embedContent')).toEqual({
      dialect: 'gemini',
      model: 'asked',
      inputs: ['a'],
      isSingle: true,
      dimensions: 8,
      encoding: 'float',
      taskType: 'RETRIEVAL_QUERY',
      user: undefined,
      rest: {},
    });
    expect(decode({ requests: [{ model: 'models/asked', ...input('a') }, input('b')] }, 'batchEmbedContents')).toMatchObject({
      inputs: ['a', 'b'],
      isSingle: false,
    });
  });

  it('refuses inputs that want different vectors, and media', () => {
    expect(() => decode({ requests: [input('a'), { ...input('b'), taskType: 'X' }] }, 'batchEmbedContents')).toThrow(GatewayError);
    expect(() => decode({ content: { parts: [{ inlineData: { mimeType: 'image/png', data: '' } }] } }, 'embedContent')).toThrow(
      GatewayError,
    );
  });

  it('asks for a list, and refuses token ids', () => {
    const written = embeddings.encodeRequest(OF_CHAT, TERMS);
    expect(body(written)).toEqual({
      requests: ['a', 'b'].map((text) => ({ model: 'models/up', content: { parts: [{ text }] }, outputDimensionality: 8 })),
    });
    expect(written.losses).toEqual([{ name: 'unknown_field', at: 'x' }, { name: 'user' }]);
    expect(() => embeddings.encodeRequest({ ...OF_CHAT, inputs: [[1, 2]] }, TERMS)).toThrow(GatewayError);
  });

  it('reads vectors, with a usage where one is told', () => {
    const answer = { embeddings: [{ values: [1, 2] }, { values: [3, 4] }] };
    expect(embeddings.decodeResponse(Buffer.from(JSON.stringify(answer)), OF_CHAT)).toMatchObject({
      vectors: [
        [1, 2],
        [3, 4],
      ],
      usage: undefined,
    });
    const counted = { ...answer, usageMetadata: { promptTokenCount: 5 } };
    expect(embeddings.decodeResponse(Buffer.from(JSON.stringify(counted)), OF_CHAT).usage?.usage).toEqual({ input: 5 });
    for (const wrong of [
      '{"embeddings":[{"values":[1]}]}',
      '{"embeddings":[{"values":[1]},{}]}',
      '[]',
      'x',
      '{"error":{"code":500,"message":"no"}}',
    ]) {
      expect(() => embeddings.decodeResponse(Buffer.from(wrong), OF_CHAT)).toThrow(GatewayError);
    }
  });

  it('answers in the form that was asked in', () => {
    const response = { model: 'up', vectors: [[1, 2]], usage: { usage: { input: 5 }, reasoningTokens: undefined, raw: {} }, rest: {} };
    const terms = { model: undefined, costUsdLiteral: '0.5' };
    expect(body(embeddings.encodeResponse(response, { ...terms, request: { ...OF_CHAT, isSingle: true } }))).toEqual({
      embedding: { values: [1, 2] },
      usageMetadata: { promptTokenCount: 5, promptTokenDetails: [{ modality: 'TEXT', tokenCount: 5 }], costUsd: 0.5 },
    });
    expect(body(embeddings.encodeResponse({ ...response, usage: undefined }, { ...terms, request: OF_CHAT }))).toEqual({
      embeddings: [{ values: [1, 2] }],
    });
  });
});
