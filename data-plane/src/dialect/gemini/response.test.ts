import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { packCarrier } from '../../canonical/carrier.ts';
import type { Part } from '../../canonical/message.ts';
import type { Choice, Response } from '../../canonical/response.ts';
import { decodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded answers in ${FIXTURES}`);

const buffer = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const answer = (parts: object[], more: object = {}, outer: object = {}): Buffer =>
  buffer({
    candidates: [{ content: { parts, role: 'model' }, finishReason: 'STOP', ...more }],
    modelVersion: 'up',
    responseId: 'abc',
    ...outer,
  });
const USAGE = { usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 2, totalTokenCount: 6 } };

const REQUEST = decodeRequest(Buffer.from('{"contents":[{"parts":[{"text":"Hi"}]}]}'), { model: 'm' });
const TERMS = { requestId: 'req_1', request: REQUEST, model: undefined, createdSeconds: 0, costUsdLiteral: undefined };

function recorded(): [string, Buffer, number][] {
  if (!present) return [];
  const found: [string, Buffer, number][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!/\/generate\/[^/]+\.json$/.test(name) || name.endsWith('.meta.json')) continue;
    const meta = join(FIXTURES, `${name}.meta.json`);
    const status = existsSync(meta) ? JSON.parse(readFileSync(meta, 'utf8')).response?.status : 200;
    found.push([name, readFileSync(join(FIXTURES, name)), Number(status ?? 200)]);
  }
  return found;
}

function failure(read: () => unknown): GatewayError {
  try {
    read();
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('It did not fail.');
}

describe('an answer that passes through', () => {
  it('gets the cost beside its usage and the name that was asked for, and no other byte is touched', () => {
    const body =
      ' {"modelVersion" : "up", "new":[1.0], "usageMetadata": {"promptTokenCount": 4 }, "candidates":[{"content":{"parts":[{"text":"a"}]}}]}\n';
    const { facts, rewrite } = readAnswer('chat', Buffer.from(body));
    expect(facts).toMatchObject({ usage: { input: 4 }, model: 'up', empty: false });
    expect(Buffer.concat([...rewrite({ model: 'asked', costUsdLiteral: '0.10' }).body]).toString()).toBe(
      body.replace('"up"', '"asked"').replace('4 }', '4 ,"costUsd":0.10}'),
    );
  });

  it('is empty where nothing was made, and not where only a picture or thinking was', () => {
    expect(readAnswer('chat', answer([])).facts.empty).toBe(true);
    expect(readAnswer('chat', answer([{ text: '', thoughtSignature: 'c2ln' }])).facts.empty).toBe(true);
    expect(readAnswer('chat', answer([], {}, USAGE)).facts.empty).toBe(false);
    expect(readAnswer('chat', answer([{ inlineData: { mimeType: 'image/png', data: 'AAAA' } }])).facts.empty).toBe(false);
  });

  it('counts searches of long answers, too', () => {
    const grounding = { groundingMetadata: { webSearchQueries: ['a', 'b', 'b'] } };
    const long = answer([{ inlineData: { mimeType: 'image/png', data: 'A'.repeat(300_000) } }], grounding, USAGE);
    expect(readAnswer('chat', long).facts.usage?.['per_tool_call:web_search']).toBe(2);
  });

  it('is an error where it is one, or cannot be read', () => {
    expect(failure(() => readAnswer('chat', buffer({ error: { code: 503, message: 'overloaded' } }))).message).toContain('overloaded');
    expect(failure(() => readAnswer('chat', Buffer.from('<html>'))).code).toBe('upstream_error');
    expect(failure(() => readAnswer('chat', Buffer.from('{"candidates":1,"candidates":2}'))).code).toBe('upstream_error');
  });
});

describe('an answer that is read', () => {
  it('finishes for results, with calls in their order', () => {
    const { choices, dialect } = decodeResponse(
      answer([
        { text: 'Let me see.' },
        { functionCall: { name: 'f', args: { a: 1 } }, thoughtSignature: 'c2ln' },
        { functionCall: { name: 'f', id: 'own' } },
      ]),
    );
    expect(dialect).toBe('gemini');
    expect(choices[0]?.finish).toEqual({ reason: 'tool_calls', raw: 'STOP' });
    expect(choices[0]?.parts).toMatchObject([
      { type: 'text', text: 'Let me see.' },
      { type: 'tool_call', name: 'f', arguments: '{"a":1}', carriers: [{ dialect: 'gemini', value: 'c2ln' }] },
      { type: 'tool_call', id: 'own', arguments: '{}' },
    ]);
  });

  it('keeps the signature of a text behind it', () => {
    expect(decodeResponse(answer([{ text: 'Hi', thoughtSignature: 'c2ln' }])).choices[0]?.parts).toMatchObject([
      { type: 'text', text: 'Hi' },
      { type: 'reasoning', text: '', carriers: [{ dialect: 'gemini', value: 'c2ln' }] },
    ]);
  });

  it.each([
    ['MAX_TOKENS', 'length'],
    ['SAFETY', 'content_filter'],
    ['RECITATION', 'content_filter'],
    ['BLOCKLIST', 'content_filter'],
    ['PROHIBITED_CONTENT', 'content_filter'],
    ['SPII', 'content_filter'],
    ['MODEL_ARMOR', 'content_filter'],
    ['IMAGE_SAFETY', 'content_filter'],
  ])('takes %s for %s, also without content', (finishReason, reason) => {
    const { choices, usage } = decodeResponse(buffer({ candidates: [{ content: { role: 'model' }, finishReason }], ...USAGE }));
    expect(choices).toMatchObject([{ index: 0, parts: [], finish: { reason, raw: finishReason } }]);
    expect(usage?.usage).toEqual({ input: 4, output: 2 });
  });

  it('has one choice for a prompt that was refused', () => {
    const { choices, usage } = decodeResponse(buffer({ promptFeedback: { blockReason: 'OTHER' }, ...USAGE }));
    expect(choices).toMatchObject([{ index: 0, parts: [], finish: { reason: 'content_filter', raw: 'OTHER' } }]);
    expect(usage).toBeDefined();
  });

  it.each(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'OTHER', 'NEW'])('fails on %s, and may be tried again', (finishReason) => {
    expect(failure(() => decodeResponse(answer([], { finishReason })))).toMatchObject({
      code: 'upstream_error',
      source: 'upstream',
      retryable: true,
    });
  });

  it('fails where there is no candidate and no reason', () => {
    expect(failure(() => decodeResponse(buffer(USAGE))).code).toBe('upstream_error');
  });

  it('has log probabilities in the common form, and gives them back', () => {
    const logprobsResult = {
      topCandidates: [
        {
          candidates: [
            { token: 'ä', logProbability: -0.5 },
            { token: 'b', logProbability: -2 },
          ],
        },
      ],
      chosenCandidates: [{ token: 'ä', logProbability: -0.5 }],
    };
    const response = decodeResponse(answer([{ text: 'ä' }], { logprobsResult }));
    expect(response.choices[0]?.logprobs).toEqual({
      content: [
        {
          token: 'ä',
          logprob: -0.5,
          bytes: [195, 164],
          top_logprobs: [
            { token: 'ä', logprob: -0.5, bytes: [195, 164] },
            { token: 'b', logprob: -2, bytes: [98] },
          ],
        },
      ],
      refusal: null,
    });
    expect(written(response).candidates).toMatchObject([{ logprobsResult }]);
  });

  it.runIf(present)('reads every recorded answer, and says it again', () => {
    const answers = recorded();
    expect(answers.length).toBeGreaterThan(10);
    let read = 0;
    for (const [name, body, status] of answers) {
      if (status !== 200 || name.includes('429-retry') || name.includes('uploaded-file-video-google-vertex')) {
        expect(() => decodeResponse(body), name).toThrow(GatewayError);
        continue;
      }
      read++;
      const response = decodeResponse(body);
      expect(response.choices.length, name).toBeGreaterThan(0);
      const again = decodeResponse(Buffer.from(JSON.stringify(written(response))));
      expect(again.choices.map(withoutIds), name).toEqual(response.choices.map(withoutIds));
      expect(again.usage?.usage, name).toEqual(response.usage?.usage);
    }
    expect(read).toBeGreaterThan(5);
  });
});

function withoutIds(choice: Choice): unknown {
  return { ...choice, parts: choice.parts.map((part) => (part.type === 'tool_call' ? { ...part, id: '' } : part)) };
}

function written(response: Response, terms: object = {}): Record<string, unknown> {
  return JSON.parse(Buffer.concat([...encodeResponse(response, { ...TERMS, ...terms }).body]).toString());
}

const text = (value: string): Part => ({ type: 'text', text: value, citations: [], rest: { theirs: 1 } });
const OF_OTHERS: Response = {
  dialect: 'anthropic-messages',
  id: 'msg_1',
  createdSeconds: 1,
  model: 'claude',
  choices: [{ index: 0, parts: [text('Hi')], finish: { reason: 'stop', raw: 'end_turn' }, logprobs: undefined, rest: { theirs: 2 } }],
  usage: { usage: { input: 3, cached_input: 2, output: 5 }, reasoningTokens: 1, raw: {} },
  serviceTier: undefined,
  rest: { theirs: 3 },
};
const withParts = (...parts: Part[]): Response => ({
  ...OF_OTHERS,
  choices: [{ index: 0, parts, finish: { reason: 'tool_calls', raw: 'tool_use' }, logprobs: undefined, rest: {} }],
});

describe('an answer that is written', () => {
  it('has nothing in it that another dialect keeps for itself', () => {
    const body = written(OF_OTHERS, { costUsdLiteral: '0.25' });
    expect(body).toEqual({
      candidates: [{ content: { parts: [{ text: 'Hi' }], role: 'model' }, finishReason: 'STOP', index: 0 }],
      modelVersion: 'claude',
      responseId: 'req_1',
      usageMetadata: {
        promptTokenCount: 5,
        cachedContentTokenCount: 2,
        candidatesTokenCount: 4,
        thoughtsTokenCount: 1,
        totalTokenCount: 10,
        promptTokensDetails: [{ modality: 'TEXT', tokenCount: 5 }],
        cacheTokensDetails: [{ modality: 'TEXT', tokenCount: 2 }],
        costUsd: 0.25,
      },
    });
    expect(written(OF_OTHERS, { model: 'asked' }).modelVersion).toBe('asked');
  });

  it('carries the state of the issuer in ids and signatures', () => {
    const carrier = { dialect: 'anthropic-messages', value: 'sig' } as const;
    const [candidate] = written(
      withParts(
        { type: 'reasoning', text: 'Hm', carriers: [carrier] },
        {
          type: 'tool_call',
          id: 'toolu_1',
          name: 'f',
          arguments: '{"a":1}',
          kind: 'function',
          carriers: [{ dialect: 'gemini', value: 'c2ln' }],
          rest: {},
        },
      ),
    ).candidates as { content: { parts: unknown[] } }[];
    expect(candidate?.content.parts).toEqual([
      { text: 'Hm', thought: true, thoughtSignature: packCarrier(carrier) },
      { functionCall: { id: 'toolu_1', name: 'f', args: { a: 1 } }, thoughtSignature: 'c2ln' },
    ]);
  });

  it('keeps the digits of numbers in arguments, which ids of some programs are', () => {
    const args = '{"id":9007199254740993}';
    const { body } = encodeResponse(
      withParts({ type: 'tool_call', id: 'call_1', name: 'f', arguments: args, kind: 'function', rest: {} }),
      TERMS,
    );
    const text = Buffer.concat([...body]);
    expect(text.toString()).toContain(`"args":${args}`);
    expect(decodeResponse(text).choices[0]?.parts).toMatchObject([{ type: 'tool_call', arguments: args }]);
  });

  it('tells by the finish of a call whose arguments are no object', () => {
    const body = written(withParts({ type: 'tool_call', id: '1', name: 'f', arguments: '{"a":', kind: 'function', rest: {} }));
    expect(body.candidates).toMatchObject([{ content: { role: 'model' }, finishReason: 'MALFORMED_FUNCTION_CALL' }]);
  });

  it("gives a tool the client's own name", () => {
    const name = 'my.tool';
    const request = {
      ...REQUEST,
      tools: [{ kind: 'function' as const, name, description: undefined, parameters: undefined, strict: undefined, rest: {} }],
    };
    const upstreamName = 'my_tool_';
    const response = withParts({ type: 'tool_call', id: '1', name, arguments: '{}', kind: 'function', rest: {} });
    expect(JSON.stringify(written(response, { request }))).toContain(`"${name}"`);
    expect(JSON.stringify(written(response, { request }))).not.toContain(upstreamName);
  });

  it('shows pictures wherever they are, and never fails on one', () => {
    const image = (source: Extract<Part, { type: 'image' }>['source']): Part => ({ type: 'image', source, detail: undefined, rest: {} });
    const response = withParts(
      image({ from: 'base64', mediaType: 'image/png', data: 'AAAA' }),
      image({ from: 'url', url: 'https://a.example/b.png' }),
      image({ from: 'url', url: '' }),
      image({ from: 'id', id: 'file-1' }),
    );
    expect(written(response).candidates).toMatchObject([
      {
        content: { parts: [{ inlineData: { mimeType: 'image/png', data: 'AAAA' } }, { fileData: { fileUri: 'https://a.example/b.png' } }] },
      },
    ]);
    expect(encodeResponse(response, TERMS).losses).toEqual(Array(2).fill({ name: 'unknown_part', at: 'image' }));
  });

  it('names the parts that it cannot show', () => {
    const { losses } = encodeResponse(
      withParts({ type: 'foreign', dialect: 'anthropic-messages', value: { type: 'server_tool_use' } }),
      TERMS,
    );
    expect(losses).toEqual([{ name: 'unknown_part', at: 'foreign' }]);
  });
});
