import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Request } from '../../canonical/request.ts';
import { decodeRequest, encodeRequest } from './request.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded requests in ${FIXTURES}`);

/** Bodies of recorded chat requests, by the file they led to. */
function recordedRequests(): [string, object][] {
  if (!present) return [];
  return (
    readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.includes('/chat/') && name.endsWith('.meta.json'))
      .map((name): [string, object] => [name, JSON.parse(readFileSync(join(FIXTURES, name), 'utf8')).request?.body])
      .filter(([, body]) => typeof body === 'object' && body !== null && 'messages' in body)
      // One provider's own name for the standard tier is refused.
      .filter(([, body]) => !('service_tier' in body && body.service_tier === 'on_demand'))
  );
}

const TERMS = { model: 'up', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };

const decode = (fields: object) => decodeRequest(Buffer.from(JSON.stringify(fields)));
/** For an upstream that takes all that there is a word for. */
const again = (request: Request) =>
  decodeRequest(Buffer.concat(encodeRequest(request, { ...TERMS, model: request.model, quirks: ['reasoning_object'] }).body));
const base = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };
const encoded = (request: Request): Record<string, unknown> => JSON.parse(Buffer.concat(encodeRequest(request, TERMS).body).toString());

describe('recorded requests', () => {
  it.skipIf(!present)('are found', () => expect(recordedRequests().length).toBeGreaterThan(50));

  it.each(recordedRequests())('%s reads the same after it was written', (_name, body) => {
    const request = decode(body);
    expect(again(request)).toEqual({
      ...request,
      wantsStreamUsage: request.stream,
      rest: request.stream ? expect.objectContaining(request.rest) : request.rest,
    });
  });
});

describe('a chat request', () => {
  it('keeps what the canonical language has no word for', () => {
    const fields = {
      ...base,
      metadata: { a: 1 },
      logit_bias: { 5: -100 },
      prompt_cache_key: 'k',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }], vendor: 1 }],
    };
    expect(encoded(decode(fields))).toEqual({ ...fields, model: 'up' });
  });

  it('reads every kind of part', () => {
    const content = [
      { type: 'text', text: 'a' },
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA', detail: 'low' } },
      { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
      { type: 'input_audio', input_audio: { data: 'BBBB', format: 'mp3' } },
      { type: 'file', file: { file_data: 'data:application/pdf;base64,CC', filename: 'a.pdf' } },
      { type: 'file', file: { file_id: 'file-1' } },
      { type: 'something_new', value: 1 },
    ];
    const request = decode({ ...base, messages: [{ role: 'user', content }] });
    expect(request.messages[0]?.parts.map((part) => part.type)).toEqual(['text', 'image', 'image', 'audio', 'file', 'file', 'foreign']);
    expect(request.messages[0]?.parts[1]).toMatchObject({
      source: { from: 'base64', mediaType: 'image/png', data: 'AAAA' },
      detail: 'low',
    });
    expect(encoded(request).messages).toEqual([{ role: 'user', content }]);
  });

  it('keeps calls, results and reasoning of a tool loop', () => {
    const messages = [
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'hm',
        reasoning_details: [{ type: 'reasoning.encrypted', data: 'x' }],
        tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }],
      },
      { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    ];
    expect(encoded(decode({ ...base, messages })).messages).toEqual(messages);
  });

  it.each([
    ['auto', { type: 'auto' }],
    ['required', { type: 'required' }],
    [
      { type: 'function', function: { name: 'f' } },
      { type: 'tool', name: 'f', kind: 'function' },
    ],
  ])('reads the tool choice %j', (choice, read) => {
    const request = decode({ ...base, tools: [{ type: 'function', function: { name: 'f' } }], tool_choice: choice });
    expect(request.toolChoice).toEqual(read);
    expect(encoded(request).tool_choice).toEqual(choice);
  });

  it.each([
    [{ ...base, messages: [{ role: 'wizard', content: 'x' }] }, 'messages[0].role'],
    [{ ...base, messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].tool_call_id'],
    [{ ...base, stop: 7 }, 'stop'],
    [{ ...base, tools: [{ type: 'function' }] }, 'tools[0].function'],
    [{ ...base, tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name'],
    [{ ...base, tool_choice: 'maybe' }, 'tool_choice'],
    [{ ...base, response_format: { type: 'xml' } }, 'response_format.type'],
  ])('%j is refused', (fields, param) => {
    expect(() => decode(fields)).toThrow(expect.objectContaining({ code: 'invalid_request_error', param }));
  });
});

describe('a request of another dialect', () => {
  const request = decode(base);

  it('names what it loses', () => {
    const { losses, body } = encodeRequest(
      { ...request, dialect: 'anthropic-messages', rest: { context_management: {} }, sampling: { ...request.sampling, topK: 5 } },
      { ...TERMS, maxOutputTokens: 9 },
    );
    expect(losses).toEqual([{ name: 'unknown_field', at: 'context_management' }, { name: 'top_k' }]);
    expect(JSON.parse(Buffer.concat(body).toString())).toEqual({ ...base, model: 'up', max_completion_tokens: 9 });
  });

  it('may not carry a hosted tool', () => {
    const tools = [{ kind: 'hosted', dialect: 'anthropic-messages', value: { type: 'web_search_20250305' } }] as const;
    expect(() => encodeRequest({ ...request, tools }, TERMS)).toThrow(expect.objectContaining({ status: 400, param: 'tools' }));
  });

  it('has each tool result as a message, pictures after them, and leaves foreign signatures behind', () => {
    const text = (value: string) => ({ type: 'text', text: value, citations: [], rest: {} }) as const;
    const image = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AA' }, detail: undefined, rest: {} } as const;
    const messages = [
      {
        role: 'assistant',
        name: undefined,
        rest: {},
        parts: [
          { type: 'reasoning', text: 'hm', carriers: [{ dialect: 'anthropic-messages', value: 'sig' }] },
          ...['a', 'b', 'c'].map((id) => ({ type: 'tool_call', id, name: 'f', arguments: '{}', kind: 'function', rest: {} }) as const),
        ],
      },
      {
        role: 'user',
        name: undefined,
        rest: {},
        parts: [
          { type: 'tool_result', callId: 'a', parts: [text('sunny'), image], isError: false },
          { type: 'tool_result', callId: 'b', parts: [], isError: false },
          { type: 'tool_result', callId: 'c', parts: [text('no')], isError: true },
          text('And?'),
        ],
      },
    ] as const;
    expect(encoded({ ...request, dialect: 'anthropic-messages', messages }).messages).toEqual([
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'hm',
        tool_calls: ['a', 'b', 'c'].map((id) => ({ id, type: 'function', function: { name: 'f', arguments: '{}' } })),
      },
      { role: 'tool', tool_call_id: 'a', content: 'sunny' },
      { role: 'tool', tool_call_id: 'b', content: '' },
      { role: 'tool', tool_call_id: 'c', content: 'Error: no' },
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } },
          { type: 'text', text: 'And?' },
        ],
      },
    ]);
  });
});
