import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { readPassThrough } from './pass-through-request.ts';

const PLACE = { model: 'gemini-2.5-flash', stream: false };
const chat = (body: object | string, place: object = PLACE) =>
  readPassThrough('chat', Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), place);
const HI = { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] };

function refusal(read: () => unknown): { message: string; param: string | undefined; status: number } {
  try {
    read();
  } catch (error) {
    if (error instanceof GatewayError) return { message: error.message, param: error.param, status: error.status };
    throw error;
  }
  throw new Error('It was not refused.');
}

describe('the facts of a request', () => {
  it('takes model and stream from the path', () => {
    const { facts } = chat(HI, { model: 'models/gemini-3-pro', stream: true });
    expect(facts).toMatchObject({
      model: 'gemini-3-pro',
      stream: true,
      wantsStreamUsage: true,
      choices: 1,
      serviceTier: 'standard',
      needs: [],
    });
  });

  it('reads either spelling, numbers as strings, and one object where a list is due', () => {
    const camel = chat({
      systemInstruction: { parts: [{ text: 'Be brief.' }] },
      contents: { parts: { text: 'Hi' } },
      generationConfig: {
        maxOutputTokens: 100,
        candidateCount: 2,
        responseMimeType: 'application/json',
        thinkingConfig: { thinkingBudget: 5 },
      },
      tools: { functionDeclarations: { name: 'f' } },
      serviceTier: 'flex',
    }).facts;
    const snake = chat({
      system_instruction: { parts: [{ text: 'Be brief.' }] },
      contents: [{ parts: [{ text: 'Hi' }] }],
      generation_config: {
        max_output_tokens: '100',
        candidate_count: '2',
        response_mime_type: 'application/json',
        thinking_config: { thinking_budget: '5' },
      },
      tools: [{ function_declarations: [{ name: 'f' }] }],
      service_tier: 'FLEX',
    }).facts;
    for (const facts of [camel, snake]) {
      expect(facts).toMatchObject({ maxOutputTokens: 100, choices: 2, serviceTier: 'flex', needs: ['tools', 'json_object', 'reasoning'] });
    }
  });

  it('bounds the input by its bytes, media by their maxima', () => {
    const bytes = JSON.stringify(HI).length;
    expect(chat(HI).facts.inputTokensBound).toBeGreaterThanOrEqual(bytes);
    const data = 'A'.repeat(1_000_000);
    const { facts } = chat({ contents: [{ parts: [{ inline_data: { mime_type: 'image/png', data } }] }] });
    expect(facts.inputTokensBound).toBeGreaterThanOrEqual(IMAGE_MAX_TOKENS);
    expect(facts.inputTokensBound).toBeLessThan(IMAGE_MAX_TOKENS + 1_000);
    expect(facts).toMatchObject({ needs: ['vision'], beyondText: [{ meter: 'image_in' }], readsBeyondBody: false });
  });

  it('leaves sound to the context whose length its bytes do not bound', () => {
    const said = (begin: string) => ({
      contents: [{ parts: [{ inlineData: { mimeType: 'audio/mp3', data: Buffer.from(begin).toString('base64') } }] }],
    });
    expect(chat(said('ID3 speech')).facts).toMatchObject({ readsBeyondBody: false, needs: ['audio_input'] });
    expect(chat(said('fLaC silence')).facts).toMatchObject({ readsBeyondBody: true, unbounded: undefined });
  });

  it('finds pictures in the responses of functions', () => {
    const part = { functionResponse: { name: 'f', response: {}, parts: [{ inlineData: { mimeType: 'image/png', data: 'AAAA' } }] } };
    expect(chat({ contents: [{ parts: [part] }] }).facts.needs).toContain('vision');
  });

  it.each([
    ['a document', { contents: [{ parts: [{ inlineData: { mimeType: 'application/pdf', data: 'AAAA' } }] }] }, undefined],
    ['a film', { contents: [{ parts: [{ inlineData: { mimeType: 'video/mp4', data: 'AAAA' } }] }] }, undefined],
    ['a file', { contents: [{ parts: [{ fileData: { fileUri: 'gs://a/b' } }] }] }, 'contents[0].parts[0].fileData'],
    ['a cache', { ...HI, cachedContent: 'cachedContents/1' }, 'cachedContent'],
    ['a search', { ...HI, tools: [{ googleSearch: {} }] }, 'tools[0].googleSearch'],
    ['pages', { ...HI, tools: [{ url_context: {} }] }, 'tools[0].urlContext'],
  ])('knows that the model reads more than the body has, of %s', (_, body, unbounded) => {
    expect(chat(body).facts).toMatchObject({ readsBeyondBody: true, unbounded });
  });

  it('shows what is counted beside text', () => {
    const { facts } = chat({
      ...HI,
      tools: [{ googleSearch: {} }, { googleMaps: {} }, { fileSearch: {} }, { codeExecution: {} }],
      generationConfig: { responseModalities: ['TEXT', 'IMAGE'], candidateCount: 2 },
    });
    expect(facts.images).toBe(2);
    expect(facts.beyondText?.map(({ meter, atMost }) => [meter, atMost])).toEqual([
      ['image_out', 2],
      ['per_tool_call:web_search', 16],
      ['per_tool_call:google_maps', 16],
      ['per_tool_call:file_search', 16],
    ]);
  });

  it('measures the longest content', () => {
    expect(chat({ contents: [{ parts: [{ text: 'a' }] }, { parts: [{ text: 'bbbb' }, { text: 'cc' }] }] }).facts.longestMessageBytes).toBe(
      10,
    );
  });

  it.each([
    ['no contents', '{}', 'contents'],
    ['empty contents', '{"contents":[]}', 'contents'],
    ['contents of another kind', '{"contents":"Hi"}', 'contents'],
    ['a content of another kind', '{"contents":["Hi"]}', 'contents[0]'],
    ['contents twice', '{"contents":[],"contents":[]}', 'contents'],
    ['one name in both spellings', '{"contents":[{}],"generationConfig":{},"generation_config":{}}', 'generationConfig'],
    ['an escaped name', '{"\\u0063ontents":[]}', 'contents'],
    ['a limit twice', '{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}', 'maxOutputTokens'],
    ['candidates in both spellings', '{"contents":[{}],"generationConfig":{"candidateCount":1,"candidate_count":8}}', 'candidateCount'],
    ['candidates twice', '{"contents":[{}],"generationConfig":{"candidateCount":8,"candidateCount":1}}', 'candidateCount'],
    [
      'modalities in both spellings',
      '{"contents":[{}],"generationConfig":{"responseModalities":["TEXT"],"response_modalities":["IMAGE"]}}',
      'responseModalities',
    ],
    ['modalities by number', '{"contents":[{}],"generationConfig":{"responseModalities":[2]}}', 'generationConfig.responseModalities'],
    ['a limit that is none', '{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}', 'generationConfig.maxOutputTokens'],
    ['too many candidates', '{"contents":[{}],"generationConfig":{"candidateCount":9}}', 'generationConfig.candidateCount'],
    ['a tier that is none', '{"contents":[{}],"serviceTier":"slow"}', 'serviceTier'],
    ['no JSON', '{"contents":[}', undefined],
    ['a text', '"contents"', undefined],
    ['nothing', '', undefined],
  ])('refuses %s', (_, body, param) => {
    expect(refusal(() => chat(body))).toMatchObject({ status: 400, param });
  });

  it('refuses bytes that are no text, and a request without a model', () => {
    expect(refusal(() => readPassThrough('chat', Buffer.from([0x7b, 0xff]), PLACE)).status).toBe(400);
    expect(refusal(() => chat(HI, {})).param).toBe('model');
  });
});

describe('the body for the upstream', () => {
  const rewritten = (body: string, maxOutputTokens: number | undefined = 50): string =>
    Buffer.concat(chat(body).rewrite({ model: 'up', maxOutputTokens })).toString();

  it.each([
    ['{"contents":[{}]}', '{"generationConfig":{"maxOutputTokens":50},"contents":[{}]}'],
    ['{"contents":[{}],"generationConfig":{"topK":1}}', '{"contents":[{}],"generationConfig":{"maxOutputTokens":50,"topK":1}}'],
    ['{"contents":[{}],"generation_config":{}}', '{"contents":[{}],"generation_config":{"maxOutputTokens":50}}'],
    ['{"contents":[{}],"generationConfig":null}', '{"contents":[{}],"generationConfig":{"maxOutputTokens":50}}'],
    ['{"contents":[{}],"generationConfig":{"max_output_tokens":null}}', '{"contents":[{}],"generationConfig":{"max_output_tokens":50}}'],
    ['{"contents":[{}],"generationConfig":{"maxOutputTokens":7}}', '{"contents":[{}],"generationConfig":{"maxOutputTokens":7}}'],
    [
      '{"model":"models/mine","contents":[{}],"generationConfig":{"maxOutputTokens":7}}',
      '{"model":"models/up","contents":[{}],"generationConfig":{"maxOutputTokens":7}}',
    ],
  ])('is %s with a limit and the model', (given, expected) => {
    expect(rewritten(given)).toBe(expected);
  });

  it('is the same bytes where nothing has to change', () => {
    const body = ' { "contents" : [ {"parts":[{"text":"\\u00e4"}], "new_thing": 1 } ] } ';
    expect(rewritten(body, undefined)).not.toBe('');
    expect(Buffer.concat(chat(body).rewrite({ model: 'up', maxOutputTokens: undefined })).toString()).toBe(body);
  });
});

describe('embeddings', () => {
  const read = (body: object, form: string) =>
    readPassThrough('embeddings', Buffer.from(JSON.stringify(body)), { model: 'embedder', form });
  const content = { parts: [{ text: 'Hello' }] };

  it('names the model of the upstream in each request', () => {
    const { facts, rewrite } = read({ requests: [{ model: 'models/embedder', content }, { content }] }, 'batchEmbedContents');
    expect(facts).toMatchObject({ operation: 'embeddings', model: 'embedder', takesOutputLimit: false });
    expect(JSON.parse(Buffer.concat(rewrite({ model: 'up', maxOutputTokens: undefined })).toString())).toEqual({
      requests: [
        { model: 'models/up', content },
        { model: 'models/up', content },
      ],
    });
  });

  it.each([
    { content, taskType: 'RETRIEVAL_QUERY' },
    { model: 'models/mine', content, taskType: 'RETRIEVAL_QUERY' },
  ])('asks for a single one in a list', (body) => {
    const { rewrite, readAnswer } = read(body, 'embedContent');
    expect(JSON.parse(Buffer.concat(rewrite({ model: 'up', maxOutputTokens: undefined })).toString())).toEqual({
      requests: [{ model: 'models/up', content, taskType: 'RETRIEVAL_QUERY' }],
    });
    const answer = readAnswer?.(Buffer.from('{"embeddings":[{"values":[1,2]}],"usageMetadata":{"promptTokenCount":3}}'));
    expect(answer?.facts.usage).toEqual({ input: 3 });
    expect(JSON.parse(Buffer.concat([...(answer?.rewrite({ model: undefined, costUsdLiteral: '0.1' }).body ?? [])]).toString())).toEqual({
      embedding: { values: [1, 2] },
      usageMetadata: { promptTokenCount: 3, costUsd: 0.1 },
    });
  });

  it('refuses too many, too long and no inputs', () => {
    expect(refusal(() => read({ requests: Array(101).fill({ content }) }, 'batchEmbedContents')).param).toBe('requests');
    expect(refusal(() => read({ requests: [{ content: { parts: [{ text: 'x'.repeat(100_001) }] } }] }, 'batchEmbedContents')).param).toBe(
      'requests[0].content',
    );
    expect(refusal(() => read({ requests: [] }, 'batchEmbedContents')).param).toBe('requests');
    expect(refusal(() => read({}, 'embedContent')).param).toBe('content');
    // Bytes are not characters.
    expect(read({ content: { parts: [{ text: 'ä'.repeat(60_000) }] } }, 'embedContent').facts.operation).toBe('embeddings');
  });
});
