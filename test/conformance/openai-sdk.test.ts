/** The official OpenAI SDK against either region, as a customer uses it: only `baseURL` and the key differ. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, World } from '../world/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world?.stop());

const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
      required: ['city', 'unit'],
    },
  },
} as const;

const PIXEL = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

/** What an answer of ours carries beyond the provider's. */
function costOf(usage: unknown): number {
  const cost = (usage as { cost_usd?: unknown } | undefined)?.cost_usd;
  if (typeof cost !== 'number') throw new Error('the usage has no cost_usd');
  return cost;
}

describe.each(REGIONS.flatMap((region) => ['/v1', '/api/v1'].map((base) => ({ region, base }))))(
  'the openai SDK in $region under $base',
  ({ region, base }) => {
    const client = (): OpenAI => new OpenAI({ baseURL: world.url(region) + base, apiKey: world.apiKey, maxRetries: 0 });
    const ask = (content: string) => ({ model: 'gpt-5.4-mini', messages: [{ role: 'user' as const, content }] });

    it('completes a chat and says what it cost, in the body and in the headers', async () => {
      const { data, response } = await client().chat.completions.create(ask('Name a colour.')).withResponse();
      expect(data.choices[0]?.message.content).toMatch(/\S/);
      expect(data.choices[0]?.finish_reason).toBe('stop');
      expect(data.usage?.total_tokens).toBe((data.usage?.prompt_tokens ?? 0) + (data.usage?.completion_tokens ?? 0));
      expect(costOf(data.usage)).toBeGreaterThan(0);
      expect(response.headers.get('x-meridian-region')).toBe(region);
      expect(response.headers.get('x-meridian-provider')).toBe('openai');
      expect(response.headers.get('x-meridian-attempts')).toBe('1');
      expect(response.headers.get('x-request-id')).toMatch(/^req_/);
      expect(response.headers.get('x-actual-model')).toMatch(/^gpt-5\.4-mini/);
      expect(Number(response.headers.get('x-meridian-cost-usd'))).toBe(costOf(data.usage));
    });

    it('streams a chat without a usage chunk that was not asked for', async () => {
      const stream = await client().chat.completions.create({ ...ask('Tell me about rivers.'), stream: true });
      let text = '';
      let finish: string | null | undefined;
      for await (const chunk of stream) {
        expect(chunk.usage ?? null).toBeNull();
        expect(chunk.choices).toHaveLength(1);
        text += chunk.choices[0]?.delta.content ?? '';
        finish = chunk.choices[0]?.finish_reason ?? finish;
      }
      expect(text).toMatch(/\S/);
      expect(finish).toBe('stop');
    });

    it('streams with include_usage: one last chunk with usage and cost', async () => {
      const stream = await client().chat.completions.create({
        ...ask('Tell me about rivers.'),
        stream: true,
        stream_options: { include_usage: true },
      });
      const usages: unknown[] = [];
      let last: OpenAI.ChatCompletionChunk | undefined;
      for await (const chunk of stream) {
        if (chunk.usage) usages.push(chunk.usage);
        last = chunk;
      }
      expect(usages).toHaveLength(1);
      expect(last?.choices).toEqual([]);
      expect(costOf(usages[0])).toBeGreaterThan(0);
    });

    it('gives the same answer streamed and whole', async () => {
      const whole = await client().chat.completions.create(ask('Count to three.'));
      const stream = client().chat.completions.stream(ask('Count to three.'));
      expect((await stream.finalChatCompletion()).choices[0]?.message.content).toBe(whole.choices[0]?.message.content);
    });

    it.each([true, false])('calls a tool and goes on with its result (stream: %s)', async (stream) => {
      const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'What is the weather in Paris?' }];
      const first = stream
        ? await client()
            .chat.completions.stream({ model: 'gpt-5.4-mini', messages, tools: [WEATHER], tool_choice: 'auto' })
            .finalChatCompletion()
        : await client().chat.completions.create({ model: 'gpt-5.4-mini', messages, tools: [WEATHER], tool_choice: 'auto' });
      const call = first.choices[0]?.message.tool_calls?.[0];
      expect(first.choices[0]?.finish_reason).toBe('tool_calls');
      if (call?.type !== 'function') throw new Error('no function call');
      expect(call.function.name).toBe('get_weather');
      expect(JSON.parse(call.function.arguments)).toMatchObject({ city: expect.any(String), unit: expect.stringMatching(/^[cf]$/) });
      const assistant = first.choices[0]?.message;
      if (assistant === undefined) throw new Error('no message');
      const second = await client().chat.completions.create({
        model: 'gpt-5.4-mini',
        messages: [...messages, assistant, { role: 'tool', tool_call_id: call.id, content: '{"temperature": 21}' }],
        tools: [WEATHER],
      });
      expect(second.choices[0]?.finish_reason).toBe('stop');
      expect(second.choices[0]?.message.content).toContain('21');
    });

    it('honours tool_choice: required, a named tool, none', async () => {
      const messages = [{ role: 'user' as const, content: 'Hello there.' }];
      const required = await client().chat.completions.create({
        model: 'gpt-5.4-mini',
        messages,
        tools: [WEATHER],
        tool_choice: 'required',
      });
      expect(required.choices[0]?.finish_reason).toMatch(/tool_calls|stop/);
      expect(required.choices[0]?.message.tool_calls).toHaveLength(1);
      const named = await client().chat.completions.create({
        model: 'gpt-5.4-mini',
        messages,
        tools: [WEATHER],
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
      });
      expect(named.choices[0]?.message.tool_calls?.[0]).toMatchObject({ function: { name: 'get_weather' } });
      const none = await client().chat.completions.create({ model: 'gpt-5.4-mini', messages, tools: [WEATHER], tool_choice: 'none' });
      expect(none.choices[0]?.message.tool_calls ?? []).toEqual([]);
    });

    it('carries vision content', async () => {
      const answer = await client().chat.completions.create({
        model: 'gpt-4o',
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What do you see?' },
              { type: 'image_url', image_url: { url: PIXEL } },
            ],
          },
        ],
      });
      expect(answer.choices[0]?.message.content).toMatch(/image/i);
    });

    it('gives JSON for json_object and what a schema asks for json_schema', async () => {
      const object = await client().chat.completions.create({ ...ask('Answer in JSON.'), response_format: { type: 'json_object' } });
      expect(JSON.parse(object.choices[0]?.message.content ?? '')).toBeTypeOf('object');
      const schema = {
        type: 'object',
        properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 0 } },
        required: ['name', 'age'],
        additionalProperties: false,
      };
      const typed = await client().chat.completions.create({
        ...ask('Who are you?'),
        response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } },
      });
      expect(JSON.parse(typed.choices[0]?.message.content ?? '')).toEqual({ name: expect.any(String), age: expect.any(Number) });
    });

    it('passes reasoning_effort and service_tier on, and bills the tier that was served', async () => {
      const reasoned = await client().chat.completions.create({ ...ask('Think hard.'), reasoning_effort: 'high' });
      expect(reasoned.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(0);
      const [standard, flex, priority] = await Promise.all(
        (['default', 'flex', 'priority'] as const).map(async (service_tier) => {
          const answer = await client().chat.completions.create({ ...ask('Say hello.'), service_tier });
          expect(answer.service_tier).toBe(service_tier);
          return costOf(answer.usage);
        }),
      );
      expect(flex).toBeLessThan(standard ?? 0);
      expect(priority).toBeGreaterThan(standard ?? 0);
    });

    it('embeds a string and an array, as floats and in base64', async () => {
      const one = await client().embeddings.create({ model: 'text-embedding-3-small', input: 'one', encoding_format: 'float' });
      const viaBase64 = await client().embeddings.create({ model: 'text-embedding-3-small', input: ['one', 'two'] });
      expect(one.data[0]?.embedding).toHaveLength(1536);
      expect(viaBase64.data).toHaveLength(2);
      const [first = []] = viaBase64.data.map((item) => item.embedding);
      for (const [index, value] of first.entries()) expect(value).toBeCloseTo(one.data[0]?.embedding[index] ?? Number.NaN, 5);
      const small = await client().embeddings.create({ model: 'openai/text-embedding-3-large', input: 'one', dimensions: 64 });
      expect(small.data[0]?.embedding).toHaveLength(64);
      expect(costOf(one.usage)).toBeGreaterThan(0);
    });

    it('keeps the limits of embeddings', async () => {
      const many = client().embeddings.create({ model: 'text-embedding-3-small', input: Array.from({ length: 101 }, () => 'x') });
      await expect(many).rejects.toMatchObject({ status: 400, code: 'invalid_request_error', param: 'input' });
      const long = client().embeddings.create({ model: 'text-embedding-3-small', input: 'x'.repeat(100_001) });
      await expect(long).rejects.toMatchObject({ status: 400, param: 'input' });
    });

    it('lists models and retrieves them, with slashes and by other names', async () => {
      const ids: string[] = [];
      for await (const model of client().models.list()) ids.push(model.id);
      expect(ids).toEqual(expect.arrayContaining(['gpt-5.4', 'gpt-5.4-mini', 'text-embedding-3-small', 'claude-opus-4-7']));
      expect(ids).not.toContain('sora-2');
      for (const name of ['gpt-5.4', 'openai/gpt-5.4', 'openai%2Fgpt-5.4'])
        expect((await client().models.retrieve(name)).id).toBe('gpt-5.4');
      expect((await client().models.retrieve('anthropic/claude-opus-4.7')).id).toBe('claude-opus-4-7');
      await expect(client().models.retrieve('gpt-5.44')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
    });

    it.each([
      'gpt-5.4',
      'openai/gpt-5.4',
      'claude-opus-4.7',
      'claude-opus-4-7',
      'anthropic/claude-opus-4.7',
      'google/gemini-2.5-flash',
      'gemini/gemini-2.5-flash',
      'meta-llama/llama-3.3-70b-instruct',
    ])('answers to the name %s', async (model) => {
      const answer = await client().chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi.' }], max_tokens: 16 });
      expect(answer.choices[0]?.message.content).toMatch(/\S/);
    });

    it('tells a key about its account', async () => {
      const response = await fetch(`${world.url(region)}${base}/me`, { headers: { authorization: `Bearer ${world.apiKey}` } });
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({
        account: { id: world.accountId },
        region,
        plan: { id: 'unlimited' },
        tier: { name: 'Starter', markup_percent: 40, next: { name: 'Growth' } },
        balance: { balance_usd: expect.stringMatching(/^\d+\.\d+$/) },
      });
    });

    it("raises the SDK's own error classes", async () => {
      const wrong = new OpenAI({
        baseURL: world.url(region) + base,
        apiKey: `${world.apiKey.slice(0, -1)}${world.apiKey.endsWith('a') ? 'b' : 'a'}`,
        maxRetries: 0,
      });
      await expect(wrong.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
      await expect(client().chat.completions.create({ model: 'gpt-9', messages: [{ role: 'user', content: 'x' }] })).rejects.toBeInstanceOf(
        OpenAI.NotFoundError,
      );
      await expect(client().chat.completions.create({ model: 'gpt-5.4', messages: 'x' as never })).rejects.toBeInstanceOf(
        OpenAI.BadRequestError,
      );
      await expect(client().chat.completions.create(ask('Hi [[sim status=500]]'))).rejects.toMatchObject({
        status: 502,
        code: 'upstream_error',
      });
    });
  },
);
