import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { readAnswer } from './response.ts';

function answer(fields: Record<string, unknown>) {
  return {
    id: 'c1',
    object: 'chat.completion',
    model: 'gpt-5.4-2026-03-05',
    choices: [{ index: 0, message: { role: 'assistant', content: 'Paris' }, finish_reason: 'stop' }],
    ...fields,
  };
}

const read = (value: unknown) => readAnswer('chat', Buffer.from(JSON.stringify(value)));
const message = (fields: Record<string, unknown>) =>
  answer({ choices: [{ index: 0, message: { role: 'assistant', content: null, ...fields }, finish_reason: 'stop' }] });

describe('facts of an answer', () => {
  it('reads model, tier and usage', () => {
    const { facts } = read(answer({ service_tier: 'default', usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } }));
    expect(facts).toEqual({
      model: 'gpt-5.4-2026-03-05',
      serviceTier: 'standard',
      usage: { input: 3, output: 2 },
      empty: false,
      countedOutputTokens: 2,
    });
  });

  it('leaves absent what the provider did not say', () => {
    expect(read(answer({})).facts).toMatchObject({ usage: undefined, serviceTier: undefined });
    expect(read(answer({ service_tier: 'unheard-of', usage: null })).facts).toMatchObject({ usage: undefined, serviceTier: undefined });
  });

  it.each([
    [{ content: '' }, true],
    [{}, true],
    [{ content: 'x' }, false],
    [{ refusal: 'no' }, false],
    [{ reasoning_content: 'hm' }, false],
    [{ tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }] }, false],
    [{ audio: { data: 'AA' } }, false],
    [{ images: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } }] }, false],
  ])('a message with %j is empty: %s', (fields, empty) => {
    expect(read(message(fields)).facts.empty).toBe(empty);
  });

  it('is not empty where tokens were generated', () => {
    expect(read({ ...message({}), usage: { prompt_tokens: 1, completion_tokens: 9, total_tokens: 10 } }).facts.empty).toBe(false);
    expect(read({ ...message({}), usage: { prompt_tokens: 1, completion_tokens: 0, total_tokens: 1 } }).facts.empty).toBe(true);
  });

  it('counts a token in four bytes of text, reasoning and arguments', () => {
    const call = { function: { name: 'abcd', arguments: '12345678' } };
    expect(
      read(message({ content: 'x'.repeat(40), reasoning: 'y'.repeat(20), reasoning_content: 'y'.repeat(20), tool_calls: [call] })).facts
        .countedOutputTokens,
    ).toBe(18);
    expect(read(message({ content: 'x'.repeat(400_000) })).facts.countedOutputTokens).toBeGreaterThanOrEqual(100_000);
  });

  it('never calls embeddings empty', () => {
    const body = Buffer.from(JSON.stringify({ object: 'list', data: [], model: 'e', usage: { prompt_tokens: 4, total_tokens: 4 } }));
    expect(readAnswer('embeddings', body).facts).toMatchObject({ empty: false, usage: { input: 4 } });
  });
});

describe('an answer that is none', () => {
  it.each([
    '',
    'Bad gateway',
    '[]',
    'null',
    '{"model":',
    '{"usage":{},"usage":{}}',
    '{"error":{"message":"Provider returned error","code":429}}',
  ])('%s is an upstream error', (body) => {
    expect(() => readAnswer('chat', Buffer.from(body))).toThrow(GatewayError);
    expect(() => readAnswer('chat', Buffer.from(body))).toThrow(
      expect.objectContaining({ code: 'upstream_error', status: 502, retryable: true }),
    );
  });
});

describe('the rewritten answer', () => {
  const rewrite = (body: string, model: string | undefined) =>
    Buffer.concat(readAnswer('chat', Buffer.from(body)).rewrite({ model, costUsdLiteral: '0.000012500' })).toString();

  it('has the asked model and the cost, and every other byte as it was', () => {
    const body =
      '{ "id":"c", "model" : "up", "choices":[{"message":{"content":"\\u00e9"}}], "usage": {"prompt_tokens": 1.0, "x": {"usage": 1}} , "z":1e2}';
    expect(rewrite(body, 'asked')).toBe(
      body.replace('"up"', '"asked"').replace('"x": {"usage": 1}}', '"x": {"usage": 1},"cost_usd":0.000012500}'),
    );
    expect(rewrite(body, undefined)).toContain('"up"');
  });

  it('adds no usage object, and replaces a cost that is there already', () => {
    expect(rewrite('{"model":"m","usage":null}', undefined)).toBe('{"model":"m","usage":null}');
    expect(rewrite('{"model":"m"}', 'n')).toBe('{"model":"n"}');
    expect(rewrite('{"usage":{ }}', undefined)).toBe('{"usage":{ "cost_usd":0.000012500}}');
    expect(rewrite('{"usage":{"cost_usd":7,"a":1}}', undefined)).toBe('{"usage":{"cost_usd":0.000012500,"a":1}}');
  });
});
