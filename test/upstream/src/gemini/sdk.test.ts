import { type Content, type GenerateContentParameters, GoogleGenAI, type Part } from '@google/genai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../json-value.ts';
import { startUpstream, type Upstream } from '../server.ts';
import { ask, send, wireNamed } from '../testing.ts';

let upstream: Upstream;
let client: GoogleGenAI;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
  client = new GoogleGenAI({ apiKey: 'AIza-1234', httpOptions: { baseUrl: `${upstream.origin}/gemini` } });
});
afterAll(() => upstream.close());

const THIRD = 'gemini-3-flash-preview';
const SECOND = 'gemini-2.5-flash';
const declared = (name: string, field: string) => ({
  name,
  parametersJsonSchema: { type: 'object', properties: { [field]: { type: 'string' } }, required: [field] },
});
const tools = [{ functionDeclarations: [declared('get_weather', 'city'), declared('get_time', 'zone')] }];
const question: Content = { role: 'user', parts: [{ text: 'What is the weather in Oslo, and the time there?' }] };

async function streamed(parameters: GenerateContentParameters): Promise<Part[]> {
  const parts: Part[] = [];
  for await (const chunk of await client.models.generateContentStream(parameters)) {
    parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
  }
  return parts;
}

function results(calls: Part[]): Part[] {
  return calls.flatMap(({ functionCall }) =>
    functionCall === undefined
      ? []
      : [{ functionResponse: { name: functionCall.name ?? '', response: { output: `${functionCall.name}!` } } }],
  );
}

describe('through the official SDK', () => {
  test.each([THIRD, SECOND])('%s: thoughts, parallel calls, and their results in the next turn, streamed or not', async (model) => {
    const config = { tools, thinkingConfig: { includeThoughts: true } };
    const whole = await client.models.generateContent({ model, contents: [question], config });
    const [candidate] = whole.candidates ?? [];
    const chunks = await streamed({ model, contents: [question], config });
    for (const parts of [candidate?.content?.parts ?? [], chunks]) {
      const calls = parts.filter((part) => part.functionCall !== undefined);
      expect(
        calls.map(({ functionCall, thoughtSignature }) => [functionCall?.name, functionCall?.args, thoughtSignature !== undefined]),
      ).toEqual([
        ['get_weather', { city: 'Oslo' }, true],
        ['get_time', { zone: 'Oslo' }, false],
      ]);
      expect(calls.every(({ functionCall }) => (functionCall?.id !== undefined) === (model === THIRD))).toBe(true);
      expect(parts.some((part) => part.thought === true)).toBe(true);
      const contents = [question, { role: 'model', parts }, { role: 'user', parts: results(calls) }];
      const next = await client.models.generateContent({ model, contents, config });
      expect(next.text).toBe('get_weather returned: get_weather!. get_time returned: get_time!.');
    }
    expect(candidate?.finishReason).toBe('STOP');
    expect(whole.usageMetadata).toMatchObject({ candidatesTokenCount: 6, thoughtsTokenCount: 128 });
    const { promptTokenCount = 0, totalTokenCount } = whole.usageMetadata ?? {};
    expect(totalTokenCount).toBe(promptTokenCount + 6 + 128);
  });

  test('a text ends with an empty part that carries the signature, and usage is on every chunk', async () => {
    const chunks: JsonObject[] = [];
    const heard = await ask(upstream.origin, wireNamed('gemini'), { model: THIRD, stream: true, text: 'red green' });
    chunks.push(...heard.events);
    expect(chunks.every((chunk) => chunk.usageMetadata !== undefined && chunk.responseId !== undefined)).toBe(true);
    expect(chunks.at(-1)).toMatchObject({
      candidates: [{ content: { parts: [{ text: '', thoughtSignature: expect.any(String) }] }, finishReason: 'STOP' }],
    });
    expect(heard.raw.endsWith('\r\n\r\n') && !/[^\r]\n/.test(heard.raw)).toBe(true);
  });

  test('schemas of both kinds, several candidates, stop sequences, images, all spent on thoughts', async () => {
    const own = { type: 'OBJECT', properties: { city: { type: 'STRING', nullable: true } }, required: ['city'] };
    const plain = {
      $schema: 'x',
      type: 'object',
      properties: { city: { const: 'Rome' } },
      required: ['city'],
      additionalProperties: false,
    };
    const json = async (config: object): Promise<unknown> => {
      const answer = await client.models.generateContent({
        model: SECOND,
        contents: 'In Oslo',
        config: { responseMimeType: 'application/json', ...config },
      });
      return JSON.parse(answer.text ?? '');
    };
    expect([await json({ responseSchema: own }), await json({ responseJsonSchema: plain }), await json({})]).toEqual([
      { city: expect.any(String) },
      { city: 'Rome' },
      { answer: 'You said: In Oslo' },
    ]);
    const many = await client.models.generateContent({
      model: SECOND,
      contents: 'red green',
      config: { candidateCount: 2, stopSequences: [' green'] },
    });
    expect(many.candidates?.map(({ content }) => content?.parts?.[0]?.text)).toEqual(['You said: red', '(2) You said: red']);
    const drawn = await client.models.generateContent({
      model: 'gemini-2.5-flash-image',
      contents: 'a cat',
      config: { responseModalities: ['TEXT', 'IMAGE'] },
    });
    expect(drawn.candidates?.[0]?.content?.parts?.map((part) => part.inlineData?.mimeType ?? part.text)).toEqual([
      'You said: a cat',
      'image/png',
    ]);
    expect(drawn.usageMetadata?.candidatesTokenCount).toBe(4 + 1290);
    const spent = await client.models.generateContent({
      model: SECOND,
      contents: 'hi',
      config: { maxOutputTokens: 5, thinkingConfig: { thinkingBudget: 64 } },
    });
    expect(spent.candidates).toEqual([{ content: { role: 'model' }, finishReason: 'MAX_TOKENS', index: 0 }]);
    expect(spent.usageMetadata).toMatchObject({ thoughtsTokenCount: 5 });
    expect(spent.usageMetadata).not.toHaveProperty('candidatesTokenCount');
  });

  test('a blocked prompt has no candidate, a filtered answer has no text, and an answer may be grounded', async () => {
    const blocked = await client.models.generateContent({ model: SECOND, contents: 'hi [[sim blocked]]' });
    expect(blocked).toMatchObject({
      promptFeedback: { blockReason: 'PROHIBITED_CONTENT' },
      usageMetadata: { promptTokenCount: expect.any(Number) },
    });
    expect(blocked.candidates).toBeUndefined();
    const filtered = await client.models.generateContent({ model: SECOND, contents: 'hi [[sim content_filter]]' });
    expect(filtered.candidates).toMatchObject([{ finishReason: 'SAFETY', safetyRatings: [{ blocked: true }] }]);
    const grounded = await client.models.generateContent({ model: SECOND, contents: 'hi [[sim citations]]' });
    expect(grounded.candidates?.[0]?.groundingMetadata?.groundingSupports?.[0]?.segment).toMatchObject({
      endIndex: 12,
      text: 'You said: hi',
    });
  });

  test('tokens are counted as they are charged; contents are embedded; models are listed', async () => {
    const { totalTokens } = await client.models.countTokens({ model: SECOND, contents: 'hello there' });
    expect((await client.models.generateContent({ model: SECOND, contents: 'hello there' })).usageMetadata?.promptTokenCount).toBe(
      totalTokens,
    );
    const { embeddings = [] } = await client.models.embedContent({
      model: 'gemini-embedding-001',
      contents: ['one', 'two'],
      config: { outputDimensionality: 8 },
    });
    expect(embeddings.map(({ values = [] }) => [values.length, Math.round(Math.hypot(...values) * 1000)])).toEqual([
      [8, 1000],
      [8, 1000],
    ]);
    const names: Array<string | undefined> = [];
    for await (const model of await client.models.list()) names.push(model.name);
    expect(names).toContain('models/gemini-2.5-flash');
    expect((await client.models.get({ model: 'gemini-2.5-flash' })).name).toBe('models/gemini-2.5-flash');
  });

  test('images and sounds are seen, whichever way their fields are spelt', async () => {
    const parts = [
      { text: 'What is this?' },
      { inline_data: { mime_type: 'image/png', data: 'iVBORw0KGgo=' } },
      { inlineData: { mimeType: 'audio/wav', data: 'AAAA' } },
    ];
    const body = {
      contents: [{ role: 'user', parts }],
      generation_config: { max_output_tokens: 99 },
      system_instruction: { parts: [{ text: 'x' }] },
    };
    const response = await send(upstream.origin, `/v1beta/models/${SECOND}:generateContent`, { 'x-goog-api-key': 'k' }, body);
    expect(JSON.stringify(await response.json())).toContain('You said: What is this? I received 1 image and 1 audio clip.');
  });
});

test('a stream without alt=sse is one JSON array, its errors too, and the key may stand in the query', async () => {
  const path = `/v1beta/models/${SECOND}:streamGenerateContent?key=AIza-1`;
  const body = (text: string): JsonObject => ({ contents: [{ parts: [{ text }] }] });
  const whole = await (await send(upstream.origin, path, {}, body('red green'))).json();
  expect(whole).toMatchObject([{}, {}, {}, { candidates: [{ finishReason: 'STOP' }] }]);
  const failed = await (await send(upstream.origin, path, {}, body('red [[sim error_event_after=2 status=503]]'))).json();
  expect(failed).toMatchObject([{}, {}, { error: { code: 503, status: 'UNAVAILABLE' } }]);
  const refused = await send(upstream.origin, path, {}, {});
  expect([refused.status, await refused.json()]).toMatchObject([400, [{ error: { status: 'INVALID_ARGUMENT' } }]]);
  const last = upstream.journal().at(-1);
  expect(last).toMatchObject({ stream: true, model: SECOND, provider: 'gemini', key_fingerprint: 'za-1' });
});

const call = { functionCall: { name: 'get_weather', args: {} } };
const signed = { ...call, thoughtSignature: 'skip_thought_signature_validator' };
const answered = { functionResponse: { name: 'get_weather', response: { output: 'fine' } } };
const turns = (...parts: object[][]): object => ({
  contents: [question, ...parts.map((own, at) => ({ role: at % 2 === 0 ? 'model' : 'user', parts: own }))],
});
const config = (generationConfig: object): object => ({ generationConfig });
const json = (schema: object): object => config({ responseMimeType: 'application/json', responseSchema: schema });
const own = (parameters: object): object => ({ tools: [{ functionDeclarations: [{ name: 'f', parameters }] }] });

const REFUSALS: Array<[string, string, object, string]> = [
  ['no contents', SECOND, { contents: [] }, 'contents is not specified'],
  ['a role of OpenAI', SECOND, { contents: [{ role: 'assistant', parts: [{ text: 'x' }] }] }, 'Please use a valid role: user, model.'],
  ['no parts', SECOND, { contents: [{ role: 'user', parts: [] }] }, 'contents.parts must not be empty'],
  ['an empty part', SECOND, { contents: [{ role: 'user', parts: [{}] }] }, "required oneof field 'data' must have one initialized field"],
  ['an unknown field', SECOND, { messages: [] }, 'Unknown name "messages": Cannot find field.'],
  [
    'an unknown field further down',
    SECOND,
    config({ maxTokens: 1 }),
    'Unknown name "maxTokens" at \'generation_config\': Cannot find field.',
  ],
  ['a call without its signature', THIRD, turns([call], [answered]), 'missing a thought_signature in functionCall parts'],
  ["another's signature", THIRD, turns([{ ...call, thoughtSignature: 'AAAA' }], [answered]), 'Corrupted thought signature.'],
  ['a signature that is no base64', THIRD, turns([{ ...call, thoughtSignature: 'a b' }], [answered]), 'Base64 decoding failed'],
  [
    'too few responses',
    THIRD,
    turns([signed, call], [answered]),
    'the number of function response parts is equal to the number of function call parts',
  ],
  [
    'calls without responses',
    THIRD,
    turns([signed]),
    'the number of function response parts is equal to the number of function call parts',
  ],
  [
    'responses to no call',
    THIRD,
    turns([{ text: 'x' }], [answered]),
    'function response turn comes immediately after a function call turn',
  ],
  [
    '$schema',
    SECOND,
    json({ $schema: 'x', type: 'object' }),
    'Unknown name "$schema" at \'generation_config.response_schema\': Cannot find field.',
  ],
  ['additionalProperties', SECOND, json({ type: 'object', additionalProperties: false }), 'Unknown name "additionalProperties"'],
  [
    'const in a property',
    SECOND,
    json({ type: 'object', properties: { a: { const: 1 } } }),
    'Unknown name "const" at \'generation_config.response_schema.properties[0].value\': Cannot find field.',
  ],
  [
    'a list of types',
    SECOND,
    own({ type: 'object', properties: { a: { type: ['string', 'null'] } } }),
    'Proto field is not repeating, cannot start list',
  ],
  [
    'additionalProperties of a tool',
    SECOND,
    own({ type: 'object', additionalProperties: false }),
    'Unknown name "additionalProperties" at \'tools[0].function_declarations[0].parameters\': Cannot find field.',
  ],
  [
    'tools and JSON before the third generation',
    SECOND,
    { tools, ...config({ responseMimeType: 'application/json' }) },
    "Function calling with a response mime type: 'application/json' is unsupported",
  ],
  [
    'an image of a model that draws none',
    SECOND,
    config({ responseModalities: ['TEXT', 'IMAGE'] }),
    'response modalities (TEXT, IMAGE) is not supported by the model',
  ],
  ['six stop sequences', SECOND, config({ stopSequences: ['a', 'b', 'c', 'd', 'e', 'f'] }), 'stop_sequences'],
  ['nine candidates', SECOND, config({ candidateCount: 9 }), 'candidate_count must be in the range of [1, 9)'],
  ['a temperature above 2', SECOND, config({ temperature: 3 }), 'temperature must be in the range'],
  [
    'a level of the second generation',
    SECOND,
    config({ thinkingConfig: { thinkingLevel: 'HIGH' } }),
    'Thinking level is not supported for this model.',
  ],
  [
    'a level and a budget',
    THIRD,
    config({ thinkingConfig: { thinkingLevel: 'HIGH', thinkingBudget: 5 } }),
    'only one of thinking budget and thinking level',
  ],
  [
    'no thinking where it always thinks',
    'gemini-2.5-pro',
    config({ thinkingConfig: { thinkingBudget: 0 } }),
    'This model only works in thinking mode.',
  ],
  [
    'an address of a file',
    SECOND,
    { contents: [{ parts: [{ fileData: { fileUri: 'https://example.com/a.png' } }] }] },
    'Invalid or unsupported file uri',
  ],
  ['a function with an odd name', SECOND, { tools: [{ functionDeclarations: [{ name: 'a b' }] }] }, 'Invalid function name'],
  [
    'any function where there is none',
    SECOND,
    { toolConfig: { functionCallingConfig: { mode: 'ANY' } } },
    'mode is ANY but no function declarations',
  ],
];

test.each(REFUSALS)('refuses %s as Google does', async (_name, model, more, message) => {
  // The cases are JSON.
  const heard = await ask(upstream.origin, wireNamed('gemini'), { model, more: more as JsonObject });
  expect([heard.status, heard.error]).toEqual([400, expect.objectContaining({ code: 400, status: 'INVALID_ARGUMENT' })]);
  expect(heard.error?.message).toContain(message);
});

test('an earlier turn may lack its signature, and a stand-in for one is taken', async () => {
  const contents = [
    question,
    { role: 'model', parts: [call] },
    { role: 'user', parts: [answered] },
    { role: 'model', parts: [{ text: 'ok' }] },
    { role: 'user', parts: [{ text: 'and now' }] },
  ];
  expect((await client.models.generateContent({ model: THIRD, contents })).text).toBe('You said: and now');
  const body = turns([signed], [answered]) as JsonObject;
  expect((await ask(upstream.origin, wireNamed('gemini'), { model: THIRD, more: body })).text).toBe('get_weather returned: fine.');
});

test("the SDK's own chat, which keeps each chunk of a stream as a content, goes on after calls", async () => {
  const chat = client.chats.create({ model: THIRD, config: { tools } });
  const calls: Part[] = [];
  for await (const chunk of await chat.sendMessageStream({ message: question.parts ?? [] })) {
    calls.push(...(chunk.candidates?.[0]?.content?.parts ?? []).filter((part) => part.functionCall !== undefined));
  }
  expect(calls.length).toBe(2);
  const next = await chat.sendMessage({ message: results(calls) });
  expect(next.text).toBe('get_weather returned: get_weather!. get_time returned: get_time!.');
});

test('a choice of functions is kept', async () => {
  const names = async (functionCallingConfig: JsonObject): Promise<string[]> => {
    const more = { tools, toolConfig: { functionCallingConfig }, contents: [{ parts: [{ text: 'hello' }] }] };
    const { events } = await ask(upstream.origin, wireNamed('gemini'), { more: more as unknown as JsonObject });
    return JSON.stringify(events).match(/(?<="functionCall":\{"name":")\w+/g) ?? [];
  };
  expect(await names({ mode: 'ANY' })).toEqual(['get_weather']);
  expect(await names({ mode: 'ANY', allowedFunctionNames: ['get_time'] })).toEqual(['get_time']);
  expect(await names({ mode: 'NONE' })).toEqual([]);
});

test("errors are in Google's shape, with the time to come back", async () => {
  const limited = await ask(upstream.origin, wireNamed('gemini'), { sim: 'status=429 retry_after=7' });
  expect(limited.error).toMatchObject({ code: 429, status: 'RESOURCE_EXHAUSTED' });
  expect(limited.error?.details).toContainEqual({ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '7s' });
  const waiting = { 'x-goog-api-key': 'k', 'x-sim': 'status=429 retry_after=7' };
  const bare = await send(upstream.origin, `/v1beta/models/${SECOND}:generateContent`, waiting, {});
  expect(bare.headers.get('retry-after')).toBeNull();
  const bad = await send(upstream.origin, `/v1beta/models/${SECOND}:generateContent?key=sk-bad`, {}, {});
  expect(await bad.json()).toMatchObject({ error: { code: 400, details: [{ reason: 'API_KEY_INVALID' }, {}] } });
  expect((await send(upstream.origin, `/v1beta/models/${SECOND}:generateContent`, {}, {})).status).toBe(403);
});
