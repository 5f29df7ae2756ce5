import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import type { Part } from '../../canonical/message.ts';
import type { Response } from '../../canonical/response.ts';
import type { EncodeTerms } from '../dialect.ts';
import { readMessages } from './message.ts';
import { decodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
if (!existsSync(FIXTURES)) console.log(`skipped: no recorded answers in ${FIXTURES}`);

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
      usageIsInterim: false,
      usage: { input: 3, output: 2 },
      empty: false,
      countedOutputTokens: 0,
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
    Buffer.concat(readAnswer('chat', Buffer.from(body)).rewrite({ model, costUsdLiteral: '0.000012500' }).body).toString();

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
    expect(rewrite('{"usage":{"cost_usd":7,"a":1}}', undefined)).toBe('{"usage":{"a":1,"cost_usd":0.000012500}}');
    // Once an answer is paid for, no way of writing it may fail.
    for (const cost of ['"cost":1,"cost":2', '"\\u0063ost":1']) {
      expect(rewrite(`{"usage":{${cost},"a":1}}`, undefined)).toBe('{"usage":{"a":1,"cost_usd":0.000012500}}');
    }
  });
});

/** Recorded chat answers in this shape. */
function recordedAnswers(): [string, Buffer][] {
  if (!existsSync(FIXTURES)) return [];
  return readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.includes('/chat/') && name.endsWith('.json') && !name.endsWith('.meta.json'))
    .map((name): [string, Buffer] => [name, readFileSync(join(FIXTURES, name))])
    .filter(([, body]) => 'choices' in JSON.parse(body.toString()));
}

function encoded(response: Response, terms: Partial<EncodeTerms> = {}): Buffer {
  const request = decodeRequest(Buffer.from('{"model":"m","messages":[{"role":"user","content":"Hi"}]}'));
  const plain = { requestId: 'req_1', model: undefined, createdSeconds: 0, costUsdLiteral: undefined, request };
  return Buffer.concat(encodeResponse(response, { ...plain, ...terms }).body);
}

describe('recorded answers', () => {
  it.skipIf(!existsSync(FIXTURES))('are found', () => expect(recordedAnswers().length).toBeGreaterThan(20));

  it.each(recordedAnswers())('%s reads the same after it was written', (_name, body) => {
    const response = decodeResponse(body);
    const written = decodeResponse(encoded(response));
    const usage = response.usage === undefined ? undefined : { ...response.usage, raw: expect.anything() };
    const choices = response.choices.map((choice) => ({
      ...choice,
      finish: choice.finish && { reason: choice.finish.reason, raw: expect.any(String) },
    }));
    expect(written).toEqual({ ...response, usage, choices });
  });

  it.each(recordedAnswers())('%s keeps its bytes but for model and cost', (_name, body) => {
    const { facts, rewrite } = readAnswer('chat', body);
    const edited = JSON.parse(Buffer.concat(rewrite({ model: 'asked', costUsdLiteral: '0.25' }).body).toString());
    const before = JSON.parse(body.toString());
    // What the provider bills us is not passed on.
    for (const key of ['cost', 'cost_details', 'is_byok', 'cost_in_usd_ticks']) delete before.usage?.[key];
    expect(edited).toEqual({ ...before, model: 'asked', ...(before.usage ? { usage: { ...before.usage, cost_usd: 0.25 } } : {}) });
    expect(facts.empty).toBe(false);
  });
});

describe('what a provider tells of its own bill', () => {
  const bill = { cost: 0.000012, cost_details: { upstream_inference_cost: 0.00001 }, is_byok: false, cost_in_usd_ticks: 5 };
  const counts = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };

  it('does not reach the client', () => {
    const body = Buffer.from(JSON.stringify(answer({ usage: { ...counts, ...bill } })));
    const { facts, rewrite } = readAnswer('chat', body);
    const written = JSON.parse(Buffer.concat(rewrite({ model: undefined, costUsdLiteral: '0.25' }).body).toString());
    expect(written.usage).toEqual({ ...counts, cost_usd: 0.25 });
    expect(facts.usage).toEqual({ input: 3, output: 2 });
  });
});

describe('a translated answer', () => {
  it('has usage in this shape, with its cost', () => {
    const response = decodeResponse(
      Buffer.from(JSON.stringify(answer({ usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } }))),
    );
    const terms = { model: 'asked', createdSeconds: 7, costUsdLiteral: '0.10' };
    const written = encoded({ ...response, createdSeconds: undefined }, terms).toString();
    expect(JSON.parse(written)).toMatchObject({ object: 'chat.completion', created: 7, model: 'asked', usage: { total_tokens: 5 } });
    expect(written).toContain('"cost_usd":0.10}');
  });

  it('keeps separate thinking blocks of another dialect apart on their way through a client', () => {
    const block = (text: string, signature: string) =>
      ({ type: 'reasoning', text, carriers: [{ dialect: 'anthropic-messages', value: signature }] }) as const;
    const response = decodeResponse(Buffer.from(JSON.stringify(answer({}))));
    const parts = [block('one', 's1'), block('', 's2'), ...(response.choices[0]?.parts ?? [])];
    const choices = response.choices.map((choice) => ({ ...choice, parts }));
    const { message } = JSON.parse(encoded({ ...response, dialect: 'anthropic-messages', choices }).toString()).choices[0];
    expect(message.reasoning_content).toBe('one');
    expect(readMessages([message])[0]?.parts).toEqual(parts);
  });

  it('has thinking behind its text only where that says something', () => {
    const thought = { type: 'reasoning', text: 'one', carriers: [{ dialect: 'anthropic-messages', value: 's1' }] } as const;
    const said = (text: string) => ({ type: 'text', text, citations: [], rest: {} }) as const;
    const response = decodeResponse(Buffer.from(JSON.stringify(answer({}))));
    const again = (parts: readonly Part[]) => {
      const choices = response.choices.map((choice) => ({ ...choice, parts }));
      const body = encoded({ ...response, dialect: 'anthropic-messages', choices }).toString();
      return readMessages([JSON.parse(body).choices[0].message])[0]?.parts;
    };
    expect(again([said(''), thought, said('Hi')])).toEqual([thought, said('Hi')]);
    expect(again([said('Hi'), thought])).toEqual([said('Hi'), thought]);
  });

  it('never passes an unknown finish reason for a stop', () => {
    expect(() => decodeResponse(Buffer.from(JSON.stringify(answer({ choices: [{ message: {}, finish_reason: 'because' }] }))))).toThrow(
      expect.objectContaining({ code: 'upstream_error' }),
    );
  });
});
