import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EmbeddingRequest } from '../../canonical/embedding.ts';
import { embeddings } from './embeddings.ts';
import { readPassThrough } from './pass-through-request.ts';
import { readAnswer } from './response.ts';

const TERMS = { model: 'up', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
const decode = (fields: object) => embeddings.decodeRequest(Buffer.from(JSON.stringify(fields)), {});
const encoded = (request: EmbeddingRequest) => JSON.parse(Buffer.concat(embeddings.encodeRequest(request, TERMS).body).toString());
const answer = (fields: object, request: EmbeddingRequest) => embeddings.decodeResponse(Buffer.from(JSON.stringify(fields)), request);
const item = (index: number, embedding: unknown) => ({ object: 'embedding', index, embedding });

describe('a request for embeddings', () => {
  it.each([
    ['one text', 'a', ['a'], true],
    ['texts', ['a', 'b'], ['a', 'b'], false],
    ['token ids', [1, 2], [[1, 2]], true],
    ['lists of token ids', [[1], [2, 3]], [[1], [2, 3]], false],
  ])('of %s', (_name, input, inputs, isSingle) => {
    const request = decode({ model: 'e', input });
    expect(request).toMatchObject({ inputs, isSingle, encoding: 'float' });
    expect(encoded(request)).toEqual({ model: 'up', input });
  });

  it('keeps what it asks of the vectors, and asks its upstream for numbers', () => {
    const request = decode({ model: 'e', input: 'a', dimensions: 8, encoding_format: 'base64', user: 'u', vendor: 1 });
    expect(request.encoding).toBe('base64');
    expect(encoded(request)).toEqual({ model: 'up', input: 'a', dimensions: 8, user: 'u', vendor: 1 });
  });

  it('of another dialect names what it loses', () => {
    const request: EmbeddingRequest = { ...decode({ model: 'e', input: 'a' }), dialect: 'gemini', taskType: 'X', rest: { title: 't' } };
    expect(embeddings.encodeRequest(request, TERMS).losses).toEqual([{ name: 'unknown_field', at: 'title' }, { name: 'embedding_task' }]);
    expect(encoded(request)).toEqual({ model: 'up', input: 'a' });
  });

  it('is refused as in the other lane', () => {
    expect(() => decode({ model: 'e', input: [] })).toThrow(expect.objectContaining({ status: 400, param: 'input' }));
    expect(() => decode({ model: 'e', input: 'a', dimensions: 0 })).toThrow(expect.objectContaining({ param: 'dimensions' }));
  });
});

describe('an answer with embeddings', () => {
  const request = decode({ model: 'e', input: ['a', 'b'] });

  it('is read in the order of the inputs, numbers and base64', () => {
    const floats = Buffer.alloc(8);
    floats.writeFloatLE(0.5, 0);
    floats.writeFloatLE(-2, 4);
    const read = answer(
      { model: 'm', data: [item(1, [3]), item(0, floats.toString('base64'))], usage: { prompt_tokens: 2, total_tokens: 2 } },
      request,
    );
    expect(read).toMatchObject({ model: 'm', vectors: [[0.5, -2], [3]], usage: { usage: { input: 2 } } });
  });

  it.each([
    [{ data: [item(0, [1])] }],
    [{ data: [item(0, [1]), item(0, [1])] }],
    [{ data: [item(0, [1]), item(1, [])] }],
    [{ data: [item(0, [1]), item(1, [1]), item(2, [1])] }],
    [{ data: [item(0, [1]), item(1e9, [1])] }],
    [{}],
    [{ error: { message: 'no' } }],
  ])('that has not one vector for each is an upstream error: %j', (fields) => {
    expect(() => answer(fields, request)).toThrow(expect.objectContaining({ code: 'upstream_error' }));
  });

  it('comes back with the same vectors in either encoding', () => {
    const float = fc.float({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(
        fc.array(fc.array(float, { minLength: 1, maxLength: 9 }), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        (vectors, packed) => {
          const asked = decode({ model: 'e', input: vectors.map(() => 'x'), ...(packed ? { encoding_format: 'base64' } : {}) });
          const written = embeddings.encodeResponse(
            { model: 'm', vectors, usage: undefined, rest: {} },
            { model: 'asked', costUsdLiteral: undefined, request: asked },
          );
          const body = Buffer.concat(written.body);
          expect(typeof JSON.parse(body.toString()).data[0].embedding).toBe(packed ? 'string' : 'object');
          // A zero has no sign in JSON.
          expect(embeddings.decodeResponse(body, asked).vectors).toEqual(packed ? vectors : JSON.parse(JSON.stringify(vectors)));
        },
      ),
    );
  });

  it('passes through in base64 where that was asked for and the provider wrote numbers', () => {
    const asked = (encoding_format?: string) =>
      readPassThrough('embeddings', Buffer.from(JSON.stringify({ model: 'e', input: ['a', 'b'], encoding_format })));
    const told = (...vectors: unknown[]) =>
      JSON.stringify({
        object: 'list',
        data: vectors.map((vector, index) => item(index, vector)),
        model: 'up',
        usage: { prompt_tokens: 2 },
      });
    const passed = (text: string, encoding_format?: string) => {
      const body = Buffer.from(text);
      const { rewrite } = asked(encoding_format).readAnswer?.(body) ?? readAnswer('embeddings', body);
      return Buffer.concat(rewrite({ model: 'm', costUsdLiteral: '0.10' }).body).toString();
    };
    const edited = (text: string) => text.replace('"up"', '"m"').replace('"prompt_tokens":2}', '"prompt_tokens":2,"cost_usd":0.10}');
    const numbers = told([0.5, -2], [3]);
    const packed = told('AAAAPwAAAMA=', 'AABAQA==');
    expect(passed(numbers, 'base64')).toBe(edited(packed));
    // Nothing else is touched, not even white space.
    expect(passed(` ${numbers.replaceAll(':', ' : ').replaceAll('"prompt_tokens" : ', '"prompt_tokens":')}`, 'base64')).toContain(
      '"AAAAPwAAAMA="',
    );
    expect(passed(packed, 'base64')).toBe(edited(packed));
    expect(passed(numbers)).toBe(edited(numbers));
    expect(passed(numbers, 'float')).toBe(edited(numbers));
    for (const text of ['{"data":[', '[]', '{"data":[{"embedding":[1,]}]}', '{"error":{"message":"no"}}']) {
      expect(() => passed(text, 'base64')).toThrow(expect.objectContaining({ code: 'upstream_error' }));
    }
    expect(JSON.parse(passed('{"data":[null,{"embedding":[1]}],"usage":null}', 'base64')).data).toEqual([null, { embedding: [1] }]);
  });

  it('tells its usage with its cost', () => {
    const read = answer({ model: 'm', data: [item(0, [1]), item(1, [1])], usage: { prompt_tokens: 2, total_tokens: 2 } }, request);
    const { body } = embeddings.encodeResponse(read, { model: 'asked', costUsdLiteral: '0.10', request });
    const written = Buffer.concat(body).toString();
    expect(JSON.parse(written)).toMatchObject({ object: 'list', model: 'asked', usage: { prompt_tokens: 2, total_tokens: 2 } });
    expect(written).toContain('"cost_usd":0.10}');
  });
});
