import { GatewayError } from '@meridian/domain/error';
import type { Quirk } from '@meridian/domain/quirk';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { packCarrier } from '../../canonical/carrier.ts';
import { IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { readPassThrough } from './pass-through-request.ts';

const messages = [{ role: 'user', content: 'Hello' }];

function chat(fields: Record<string, unknown>) {
  return readPassThrough('chat', Buffer.from(JSON.stringify({ model: 'gpt-5.4', messages, ...fields })));
}

function embed(fields: Record<string, unknown>) {
  return readPassThrough('embeddings', Buffer.from(JSON.stringify({ model: 'embed', input: 'x', ...fields })));
}

function refusal(read: () => unknown): GatewayError {
  try {
    read();
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

function rewritten(body: string, edits: { model?: string; maxOutputTokens?: number; quirks?: readonly Quirk[] } = {}): string {
  const request = readPassThrough('chat', Buffer.from(body));
  const { model = 'upstream', maxOutputTokens, quirks = [] } = edits;
  return Buffer.concat(request.rewrite({ model, maxOutputTokens, quirks })).toString();
}

describe('facts of a chat request', () => {
  it.each([
    [{}, []],
    [{ tools: [{ type: 'function', function: { name: 'f' } }], modalities: ['text'], web_search_options: null, plugins: [] }, []],
    [
      { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }] }] },
      [{ meter: 'audio_in', param: 'messages[0].content[0]', atMost: undefined }],
    ],
    [
      { messages: [...messages, { role: 'user', content: [{ type: 'audio_url', audio_url: { url: 'https://x.y/a.mp3' } }] }] },
      [{ meter: 'audio_in', param: 'messages[1].content[0]', atMost: undefined }],
    ],
    [
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'x' },
              { type: 'image_url', image_url: { url: 'https://x.y/a.png' } },
            ],
          },
        ],
      },
      [{ meter: 'image_in', param: 'messages[0].content[1]', atMost: undefined }],
    ],
    [
      { modalities: ['text', 'audio', 'image'], n: 2 },
      [
        { meter: 'audio_out', param: 'modalities', atMost: undefined },
        { meter: 'image_out', param: 'modalities', atMost: 2 },
      ],
    ],
    [
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } }] }] },
      [{ meter: 'cache_write_1h', param: 'messages[0].content[0].cache_control.ttl', atMost: undefined }],
    ],
    [
      { messages: [{ role: 'user', cache_control: { ttl: '1h' }, content: 'x' }] },
      [{ meter: 'cache_write_1h', param: 'messages[0].cache_control.ttl', atMost: undefined }],
    ],
    [
      { tools: [{ type: 'function', function: { name: 'f' }, cache_control: { ttl: '1h' } }] },
      [{ meter: 'cache_write_1h', param: 'tools[0].cache_control.ttl', atMost: undefined }],
    ],
    [{ cache_control: { ttl: '1h' } }, [{ meter: 'cache_write_1h', param: 'cache_control.ttl', atMost: undefined }]],
    [{ cache_control: { type: 'ephemeral', ttl: '5m' }, tools: [{ type: 'function', cache_control: null }] }, []],
    [{ web_search_options: {} }, [{ meter: 'per_tool_call:web_search', param: 'web_search_options', atMost: 16 }]],
    [{ enable_search: true }, [{ meter: 'per_tool_call:web_search', param: 'enable_search', atMost: 16 }]],
    [{ enable_search: false }, []],
    [{ search_parameters: { mode: 'auto' } }, [{ meter: 'per_tool_call:web_source', param: 'search_parameters', atMost: 20 }]],
    [{ search_parameters: { max_search_results: 5 } }, [{ meter: 'per_tool_call:web_source', param: 'search_parameters', atMost: 5 }]],
    [{ search_parameters: { mode: 'off' } }, []],
    [{ plugins: [{ id: 'web' }] }, [{ meter: 'per_tool_call:web_search', param: 'plugins', atMost: 16 }]],
    [{ plugins: [{ id: 'file-parser' }] }, []],
    [
      { tools: [{ type: 'function', function: { name: 'f' } }, { type: 'web_search_20250305' }, { type: 'File Search!' }] },
      [
        { meter: 'per_tool_call:web_search', param: 'tools[1]', atMost: 16 },
        { meter: 'per_tool_call', param: 'tools[2]', atMost: 16 },
      ],
    ],
    [{ tools: [{ type: 'web_search_preview_2025_03_11' }] }, [{ meter: 'per_tool_call:web_search', param: 'tools[0]', atMost: 16 }]],
  ])('shows what is counted beside text in %j', (fields, beyondText) => {
    expect(chat(fields).facts.beyondText).toEqual(beyondText);
  });

  it('counts no more sources than there are numbers', () => {
    const body = '{"model":"m","messages":[{}],"search_parameters":{"max_search_results":1e999}}';
    const [shown] = readPassThrough('chat', Buffer.from(body)).facts.beyondText ?? [];
    expect(shown?.atMost).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('reads the fields that planning needs', () => {
    const request = chat({ stream: true, stream_options: { include_usage: true }, max_tokens: 7, n: 2, service_tier: 'fast' });
    expect(request.facts).toMatchObject({
      operation: 'chat',
      model: 'gpt-5.4',
      stream: true,
      wantsStreamUsage: true,
      maxOutputTokens: 7,
      choices: 2,
      serviceTier: 'priority',
      needs: [],
    });
  });

  it('takes null and absence for the defaults', () => {
    const fields = {
      stream: null,
      stream_options: null,
      max_tokens: null,
      max_completion_tokens: null,
      n: null,
      service_tier: null,
      tools: null,
      response_format: null,
      reasoning_effort: null,
    };
    const defaults = { stream: false, wantsStreamUsage: false, maxOutputTokens: undefined, choices: 1, serviceTier: 'standard', needs: [] };
    expect(chat(fields).facts).toMatchObject(defaults);
    expect(chat({}).facts).toMatchObject(defaults);
  });

  it('lets max_completion_tokens win over max_tokens', () => {
    expect(chat({ max_tokens: 5, max_completion_tokens: 9 }).facts.maxOutputTokens).toBe(9);
  });

  it.each([
    [{ tools: [{ type: 'function', function: { name: 'f' } }] }, ['tools']],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }] }] }, ['vision']],
    [{ messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }] }] }, ['audio_input']],
    [{ response_format: { type: 'json_schema', json_schema: {} } }, ['json_schema']],
    [{ response_format: { type: 'json_object' } }, ['json_object']],
    [{ response_format: { type: 'text' }, reasoning_effort: 'low' }, ['reasoning']],
    [{ reasoning_effort: 'none', tools: [] }, []],
  ])('names what %j needs of a model', (fields, needs) => {
    expect(chat(fields).facts.needs).toEqual(needs);
  });

  it('reads a name that is written with escapes in its value', () => {
    expect(readPassThrough('chat', Buffer.from('{"model":"gpt\\u002d5","messages":[{}]}')).facts.model).toBe('gpt-5');
  });
});

describe('the bound of the input', () => {
  const bound = (content: unknown) => chat({ messages: [{ role: 'user', content }] }).facts.inputTokensBound;

  it('is at least the bytes of the text', () => {
    expect(bound('é'.repeat(1_000))).toBeGreaterThanOrEqual(2_000);
  });

  it('grows with each message and each tool beyond their bytes', () => {
    const one = chat({ messages }).facts.inputTokensBound;
    const two = chat({ messages: [...messages, ...messages] }).facts.inputTokensBound;
    expect(two - one).toBeGreaterThan(JSON.stringify(messages[0]).length + 1);
    const tool = { type: 'function', function: { name: 'f' } };
    expect(chat({ tools: [tool] }).facts.inputTokensBound - one).toBeGreaterThan(JSON.stringify(tool).length);
  });

  it('counts an inline picture by a maximum, not by its bytes', () => {
    const picture = (bytes: number) => [{ type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(bytes)}` } }];
    expect(bound(picture(3_000_000))).toBe(bound(picture(300)));
    expect(bound(picture(300))).toBeLessThan(60_000);
    expect(bound([...picture(300), ...picture(300)]) - bound(picture(300))).toBeGreaterThan(48_000);
  });

  it('cannot be lowered by text that poses as a picture', () => {
    const disguise = `data:image/png;base64,${'A'.repeat(200_000)}`;
    expect(bound(disguise)).toBeGreaterThan(200_000);
    expect(bound([{ type: 'text', text: disguise }])).toBeGreaterThan(200_000);
    expect(bound([{ type: 'image_url', image_url: { url: `data:text/plain,${'word '.repeat(40_000)}` } }])).toBeGreaterThan(200_000);
    expect(chat({ tools: [{ image_url: { url: disguise } }] }).facts.inputTokensBound).toBeGreaterThan(200_000);
    expect(
      chat({ messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }], image_url: { url: disguise } }] }).facts.inputTokensBound,
    ).toBeGreaterThan(200_000);
  });

  it('counts a picture in low detail by a lower maximum, if that is asked for once', () => {
    const picture = (detail: string) => {
      const image = `{"url":"https://example.com/a.png",${detail}}`;
      const body = `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":${image}}]}]}`;
      return readPassThrough('chat', Buffer.from(body)).facts.inputTokensBound;
    };
    expect(picture('"detail":"low"')).toBeLessThan(17_000);
    expect(picture('"detail":"low"')).toBeGreaterThan(16_384);
    for (const detail of ['"detail":"high"', '"detail":"auto"', '"detail":7', '"detail":"high","detail":"low"', '"x":"low"']) {
      expect(picture(detail)).toBeGreaterThan(48_169);
    }
  });

  it('counts speech by its bytes', () => {
    expect(bound([{ type: 'input_audio', input_audio: { data: 'A'.repeat(160_000), format: 'mp3' } }])).toBeLessThan(11_000);
    expect(bound([{ type: 'input_audio', input_audio: { data: 'A'.repeat(160_000), format: 'mp3' } }])).toBeGreaterThan(7_000);
  });

  it('leaves sound to the context whose length its bytes do not bound', () => {
    const said = (data: string) => ({
      messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data, format: 'mp3' } }] }],
    });
    expect(chat(said(Buffer.from('ID3 speech').toString('base64'))).facts.readsBeyondBody).toBe(false);
    expect(chat(said(Buffer.from('fLaC silence').toString('base64'))).facts).toMatchObject({ readsBeyondBody: true, unbounded: undefined });
  });

  it('counts the pictures beside a content like those in it', () => {
    const picture = { type: 'image_url', image_url: { url: 'https://x.y/a.png' } };
    const { facts } = chat({ messages: [{ role: 'assistant', content: 'x', images: [picture, picture] }] });
    expect(facts.inputTokensBound).toBeGreaterThan(2 * IMAGE_MAX_TOKENS);
    expect(facts.needs).toContain('vision');
  });

  it('says so where only the context bounds what the model reads', () => {
    const file = [{ type: 'file', file: { file_data: 'A'.repeat(10_000) } }];
    expect(chat({ messages: [{ role: 'user', content: file }] }).facts).toMatchObject({ readsBeyondBody: true, unbounded: undefined });
    expect(bound(file)).toBeGreaterThan(10_000);
    expect(chat({ tools: [{ type: 'function', function: { name: 'f' } }], plugins: [], web_search_options: null }).facts).toMatchObject({
      readsBeyondBody: false,
      unbounded: undefined,
    });
  });
});

describe('what cannot be bounded', () => {
  const user = (part: object) => ({
    messages: [
      { role: 'user', content: 'x' },
      { role: 'user', content: [{ type: 'text' }, part] },
    ],
  });
  const document = 'messages[1].content[1]';

  it.each<[string, Record<string, unknown>, boolean]>([
    ['web_search_options', { web_search_options: {} }, true],
    ['search_parameters', { search_parameters: { mode: 'auto' } }, true],
    ['plugins', { plugins: [{ id: 'web' }] }, true],
    ['enable_search', { enable_search: true }, true],
    ['prompt', { prompt: { id: 'pmpt_1' } }, true],
    ['previous_response_id', { previous_response_id: 'resp_1' }, true],
    ['conversation', { conversation: 'conv_1' }, true],
    ['cached_content', { cached_content: 'cachedContents/1' }, true],
    ['extra_body.google.cached_content', { extra_body: { google: { cached_content: 'c' } } }, true],
    ['tools[1]', { tools: [{ type: 'function', function: { name: 'f' } }, { type: 'web_search' }] }, true],
    [`${document}.file`, user({ type: 'file', file: { file_id: 'file-1' } }), true],
    [document, user({ type: 'video_url', video_url: { url: 'https://example.com/a.mp4' } }), true],
    [document, user({ type: 'document_url', document_url: 'https://example.com/a.pdf' }), true],
    [
      'messages[0].images[0].file',
      { messages: [{ role: 'user', content: 'x', images: [{ type: 'file', file: { file_data: 'https://example.com/a.pdf' } }] }] },
      true,
    ],
    ['messages[0].audio', { messages: [{ role: 'assistant', audio: { id: 'audio_1' } }] }, true],
    ['modalities', { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } }, false],
  ])('%s is named', (param, fields, readsBeyondBody) => {
    expect(chat(fields).facts).toMatchObject({ unbounded: param, readsBeyondBody });
  });

  it('takes no limit beside a prediction, and counts the images asked for', () => {
    expect(chat({ prediction: { type: 'content', content: 'x' } }).facts).toMatchObject({ takesOutputLimit: false, images: 0 });
    expect(chat({ prediction: null, modalities: ['text', 'image'], n: 3 }).facts).toMatchObject({ takesOutputLimit: true, images: 3 });
  });
});

describe('a request that cannot be read', () => {
  it.each([
    ['', 'empty', undefined],
    ['{', 'not valid JSON', undefined],
    ['{"model":"m","messages":[{}],}', 'at byte 29', undefined],
    ['{"model":"m","messages":[{}]} x', 'not valid JSON', undefined],
    ['[]', 'must be a JSON object', undefined],
    ['"text"', 'must be a JSON object', undefined],
    ['{"messages":[{}]}', 'missing', 'model'],
    ['{"model":7,"messages":[{}]}', 'string', 'model'],
    ['{"model":" ","messages":[{}]}', 'empty', 'model'],
    [`{"model":"${'m'.repeat(257)}","messages":[{}]}`, '256 bytes', 'model'],
    ['{"model":"m"}', 'missing', 'messages'],
    ['{"model":"m","messages":"hi"}', 'array', 'messages'],
    ['{"model":"m","messages":[]}', 'empty', 'messages'],
    ['{"model":"m","messages":[{},"hi"]}', 'object', 'messages[1]'],
    ['{"model":"m","messages":[{}],"stream":"yes"}', 'true or false', 'stream'],
    ['{"model":"m","messages":[{}],"stream_options":[]}', 'object', 'stream_options'],
    ['{"model":"m","messages":[{}],"stream_options":{"include_usage":1}}', 'true or false', 'stream_options.include_usage'],
    [
      '{"model":"m","messages":[{}],"stream_options":{"include_usage":true,"include_usage":false}}',
      'twice',
      'stream_options.include_usage',
    ],
    ['{"model":"m","messages":[{}],"n":0}', 'positive', 'n'],
    ['{"model":"m","messages":[{}],"n":129}', 'at most 128', 'n'],
    ['{"model":"m","messages":[{}],"max_tokens":1.5}', 'positive', 'max_tokens'],
    ['{"model":"m","messages":[{}],"max_completion_tokens":-1}', 'positive', 'max_completion_tokens'],
    ['{"model":"m","messages":[{}],"max_tokens":1e400}', 'positive', 'max_tokens'],
    ['{"model":"m","messages":[{}],"service_tier":"gold"}', 'service_tier', 'service_tier'],
    ['{"model":"m","messages":[{}],"tools":{}}', 'array', 'tools'],
    ['{"model":"m","messages":[{}],"tools":["f"]}', 'objects', 'tools'],
    ['{"model":"m","messages":[{}],"response_format":"json"}', 'object', 'response_format'],
    ['{"model":"a","model":"b","messages":[{}]}', 'twice', 'model'],
    ['{"model":"m","messages":[{}],"max_tokens":1,"max_tokens":9}', 'twice', 'max_tokens'],
    ['{"\\u006dodel":"m","messages":[{}]}', 'escapes', 'model'],
  ])('%s is refused: %s', (body, text, param) => {
    const error = refusal(() => readPassThrough('chat', Buffer.from(body)));
    expect(error).toMatchObject({ code: 'invalid_request_error', status: 400, source: 'client', param });
    expect(error.message).toContain(text);
  });

  it('is one with more tools of the provider than anybody has: each is priced apart', () => {
    const tools = (count: number) => ({ tools: Array(count).fill({ type: 'web_search' }) });
    expect(chat(tools(128)).facts.beyondText).toHaveLength(128);
    expect(refusal(() => chat(tools(129)))).toMatchObject({ status: 400, param: 'tools' });
    expect(chat({ tools: Array(500).fill({ type: 'function' }) }).facts.beyondText).toEqual([]);
  });

  it('is found also where a value that is read is too long to be checked byte by byte', () => {
    const type = `${'a'.repeat(100)}\\q`;
    const body = `{"model":"m","messages":[{"content":"${'x'.repeat(70_000)}"}],"tools":[{"type":"${type}"}]}`;
    expect(refusal(() => readPassThrough('chat', Buffer.from(body)))).toMatchObject({ status: 400, code: 'invalid_request_error' });
  });

  it('refuses invalid UTF-8', () => {
    const body = Buffer.concat([Buffer.from('{"model":"m","messages":[{"content":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}]}')]);
    expect(refusal(() => readPassThrough('chat', body)).message).toContain('UTF-8');
  });

  it('never fails in another way, whatever the bytes', () => {
    const seed = JSON.stringify({
      model: 'm',
      messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } }] }],
      stream: true,
      stream_options: { include_usage: false },
      tools: [{}],
    });
    const mutated = fc.tuple(fc.nat(), fc.nat(12), fc.uint8Array({ maxLength: 6 })).map(([at, removed, added]) => {
      const bytes = Buffer.from(seed);
      const from = at % bytes.length;
      return Buffer.concat([bytes.subarray(0, from), added, bytes.subarray(from + removed)]);
    });
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      mutated,
    );
    fc.assert(
      fc.property(bodies, fc.constantFrom('chat' as const, 'embeddings' as const), (body, operation) => {
        try {
          const request = readPassThrough(operation, body);
          JSON.parse(Buffer.concat(request.rewrite({ model: 'x', maxOutputTokens: 1 })).toString());
        } catch (error) {
          expect(error).toBeInstanceOf(GatewayError);
          expect(error).toMatchObject({ status: 400 });
        }
      }),
      { numRuns: 4_000 },
    );
  });
});

describe('the rewritten request', () => {
  it('equals the same edit on the parsed body', () => {
    const options = fc.oneof(
      fc.constant(undefined),
      fc.constant(null),
      fc.record({ include_usage: fc.constantFrom(true, false, null), other: fc.jsonValue() }, { requiredKeys: [] }),
    );
    const limit = fc.oneof(fc.constant(undefined), fc.constant(null), fc.integer({ min: 1, max: 9 }));
    const request = fc.record(
      {
        stream: fc.constantFrom(true, false, null),
        stream_options: options,
        max_tokens: limit,
        max_completion_tokens: limit,
        temperature: fc.double({ noNaN: true, noDefaultInfinity: true }),
        'é"\\': fc.jsonValue(),
        metadata: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        request,
        fc.shuffledSubarray(['model', 'messages', 'rest'], { minLength: 3 }),
        fc.option(fc.integer({ min: 1, max: 99 }), { nil: undefined }),
        fc.boolean(),
        (fields, order, cap, spaced) => {
          const parts: Record<string, object> = { model: { model: 'gpt"é' }, messages: { messages }, rest: fields };
          const whole = JSON.parse(JSON.stringify(Object.assign({}, ...order.map((part) => parts[part]))));
          const body = Buffer.from(JSON.stringify(whole, undefined, spaced ? 2 : 0));
          const edited = JSON.parse(
            Buffer.concat(readPassThrough('chat', body).rewrite({ model: 'a/"b', maxOutputTokens: cap })).toString(),
          );

          const expected = { ...whole, model: 'a/"b' };
          if (whole.stream === true) expected.stream_options = { ...whole.stream_options, include_usage: true };
          const given = whole.max_completion_tokens ?? whole.max_tokens ?? undefined;
          if (given === undefined && cap !== undefined) expected.max_completion_tokens = cap;
          if (whole.max_completion_tokens != null && whole.max_tokens != null) expected.max_tokens = null;
          expect(edited).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('leaves the bytes of all other fields as they were', () => {
    const body = '{ "x": 1.0e+2, "model" : "m" ,"messages":[{"role":"user","content":"\\u00e9\\/"}], "temperature":1.000 }';
    expect(rewritten(body, { model: 'n' })).toBe(body.replace('"m"', '"n"'));
    expect(rewritten(body, { model: 'm' })).toBe(body);
  });

  it('asks for usage in streams only, keeping the other options', () => {
    expect(rewritten('{"model":"m","messages":[{}]}', { model: 'm' })).not.toContain('stream_options');
    expect(
      rewritten('{"model":"m","messages":[{}],"stream":true,"stream_options":{"include_obfuscation":false}}', { model: 'm' }),
    ).toContain('"stream_options":{"include_usage":true,"include_obfuscation":false}');
  });

  it('never shortens a limit that the client gave', () => {
    expect(rewritten('{"model":"m","messages":[{}],"max_tokens":50}', { maxOutputTokens: 10 })).toContain('"max_tokens":50');
    expect(rewritten('{"model":"m","messages":[{}],"max_tokens":50}', { maxOutputTokens: 10 })).not.toContain('max_completion_tokens');
  });

  it('copies no large body', () => {
    const body = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(100_000) }] }));
    const pieces = readPassThrough('chat', body).rewrite({ model: 'other', maxOutputTokens: 5 });
    expect(pieces.reduce((most, piece) => (piece.length > most.length ? piece : most)).buffer).toBe(body.buffer);
  });
});

describe('an embeddings request', () => {
  it('takes texts, tokens and lists of both', () => {
    for (const input of ['x', ['x', 'y'], [1, 2, 3], [[1], [2, 3]]])
      expect(embed({ input }).facts).toMatchObject({ operation: 'embeddings', stream: false, maxOutputTokens: undefined });
    expect(embed({ input: Array.from({ length: 2_000 }, (_, token) => token) }).facts.inputTokensBound).toBeGreaterThan(2_000);
  });

  it('counts characters, not bytes', () => {
    expect(embed({ input: 'é'.repeat(100_000) }).facts.model).toBe('embed');
    expect(refusal(() => embed({ input: ['x', 'é'.repeat(100_001)] }))).toMatchObject({ param: 'input[1]', status: 400 });
  });

  it.each([
    [{ input: undefined }, 'input'],
    [{ input: 7 }, 'input'],
    [{ input: [] }, 'input'],
    [{ input: ['x', 1] }, 'input'],
    [{ input: [{}] }, 'input'],
    [{ input: [1.5] }, 'input'],
    [{ input: [-1] }, 'input'],
    [{ input: [[1], []] }, 'input[1]'],
    [{ input: Array.from({ length: 101 }, () => 'x') }, 'input'],
    [{ dimensions: 0 }, 'dimensions'],
    [{ dimensions: '8' }, 'dimensions'],
    [{ encoding_format: 'hex' }, 'encoding_format'],
    [{ user: 5 }, 'user'],
  ])('%j is refused', (fields, param) => {
    expect(refusal(() => embed(fields))).toMatchObject({ code: 'invalid_request_error', param });
  });

  it('is forwarded with nothing but the model replaced', () => {
    const body = '{"input":["a"],"model":"m","encoding_format":"base64","x":1}';
    expect(Buffer.concat(readPassThrough('embeddings', Buffer.from(body)).rewrite({ model: 'n', maxOutputTokens: 5 })).toString()).toBe(
      body.replace('"m"', '"n"'),
    );
  });
});

describe('a provider with ways of its own', () => {
  const head = '"model":"m","messages":[{}]';
  const to = (body: string, quirk: Quirk, maxOutputTokens?: number) =>
    rewritten(body, { model: 'm', quirks: [quirk], ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }) });

  it('is not asked for usage where it refuses that, wherever the client asked', () => {
    const quirk = 'no_stream_options';
    expect(to(`{${head},"stream":true}`, quirk)).toBe(`{${head},"stream":true}`);
    expect(to(`{${head},"stream":true , "stream_options" : {"include_usage":true} }`, quirk)).toBe(`{${head},"stream":true  }`);
    expect(to(`{ "stream_options":{} , "stream":true,${head}}`, quirk)).toBe(`{  "stream":true,${head}}`);
    expect(to(`{${head},"stream_options":null,"stream":true}`, quirk, 7)).toBe(`{"max_completion_tokens":7,${head},"stream":true}`);
  });

  it('gets the output limit by the name that it knows', () => {
    const quirk = 'max_tokens';
    expect(to(`{${head}}`, quirk, 7)).toBe(`{"max_tokens":7,${head}}`);
    expect(to(`{${head},"max_tokens":5}`, quirk, 7)).toBe(`{${head},"max_tokens":5}`);
    expect(to(`{${head},"max_completion_tokens":5}`, quirk)).toBe(`{"max_tokens":5,${head},"max_completion_tokens":null}`);
    expect(to(`{${head},"max_completion_tokens":5,"max_tokens":9}`, quirk)).toBe(`{${head},"max_completion_tokens":null,"max_tokens":5}`);
  });

  it('reads developers as the system where it knows no developers', () => {
    const body =
      '{"model":"m","messages":[{"role":"developer","content":"developer"},{"content":"x","role": "developer" },{"role":"user"}]}';
    expect(to(body, 'system_role')).toBe(
      '{"model":"m","messages":[{"role":"system","content":"developer"},{"content":"x","role": "system" },{"role":"user"}]}',
    );
    expect(rewritten(body, { model: 'm' })).toBe(body);
  });
});

describe('a conversation that began with another provider', () => {
  const carrier = { dialect: 'anthropic-messages', value: 'sig' } as const;
  const id = packCallId('call_', { id: 'toolu_1', carriers: [carrier] });
  const own = { type: 'reasoning.encrypted', data: 'x' };
  const ours = { type: 'reasoning.encrypted', data: packCarrier(carrier), format: 'meridian-v1' };
  const turn = (callId: string, details: object[] | undefined) => [
    { role: 'user', content: 'mrd_ is a word' },
    {
      role: 'assistant',
      content: null,
      ...(details === undefined ? {} : { reasoning_details: details }),
      tool_calls: [{ id: callId, type: 'function', function: { name: 'f', arguments: '{}' } }],
    },
    { role: 'tool', tool_call_id: callId, content: 'x' },
  ];
  const sent = (messages: object[]) => JSON.parse(rewritten(JSON.stringify({ model: 'm', messages }), { model: 'm' })).messages;

  it('goes on without what proves nothing here, and with the ids that its calls had', () => {
    expect(sent(turn(id, [ours]))).toEqual(turn('toolu_1', undefined));
    expect(sent(turn(id, [own, ours]))).toEqual(turn('toolu_1', [own]));
    expect(sent(turn(packCallId('call_', { id: 'x'.repeat(50), carriers: [] }), undefined))[2].tool_call_id).toHaveLength(40);
  });

  it('is not touched where it holds nothing of ours', () => {
    const body = JSON.stringify({ model: 'm', messages: turn('mrd_1', [own]) }).replace('{"model"', '{ "model"');
    expect(rewritten(body, { model: 'm' })).toBe(body);
  });
});
