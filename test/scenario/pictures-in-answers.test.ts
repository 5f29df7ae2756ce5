/** A model of the shipped catalogue that draws answers clients of any chat protocol with pictures, at the price of its picture tokens. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { World } from '../world/world.ts';

const MODEL = 'gemini-2.5-flash-image';
/** Tokens of the simulated picture, and what they cost in USD at 30 per million. */
const PICTURE_TOKENS = 1_290;
const PICTURE_USD = 0.0387;

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly images: unknown } }[];
  readonly usage: { readonly completion_tokens_details: { readonly image_tokens: number }; readonly cost_usd: number };
}

interface GeminiAnswer {
  readonly candidates: readonly {
    readonly content: { readonly parts: readonly { readonly inlineData?: { readonly mimeType: string } }[] };
  }[];
  readonly usageMetadata: { readonly costUsd: number };
}

describe('pictures in answers', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ providers: ['gemini'] });
  }, 60_000);
  afterAll(() => world?.stop());

  function ask(path: string, body: object): Promise<Response> {
    return fetch(world.url('us') + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${world.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  }

  const chat = { model: MODEL, messages: [{ role: 'user', content: 'a cat' }], modalities: ['text', 'image'], max_tokens: 2_000 };

  it('reach a chat client, and cost what the list says', async () => {
    const response = await ask('/v1/chat/completions', chat);
    const answer = (await response.json()) as ChatAnswer;
    expect(response.status, JSON.stringify(answer)).toBe(200);
    expect(answer.choices[0]?.message.images).toEqual([
      expect.objectContaining({ image_url: { url: expect.stringMatching(/^data:image\/png;base64,/) } }),
    ]);
    expect(answer.usage.completion_tokens_details.image_tokens).toBe(PICTURE_TOKENS);
    // Beside it, some tokens of text; the starter tier adds its markup.
    expect(answer.usage.cost_usd).toBeGreaterThanOrEqual(PICTURE_USD);
    expect(answer.usage.cost_usd).toBeLessThan(PICTURE_USD * 1.5);
  });

  it('reach a chat client that streams', async () => {
    const response = await ask('/v1/chat/completions', { ...chat, stream: true, stream_options: { include_usage: true } });
    const text = await response.text();
    expect(text).toContain('"url":"data:image/png;base64,');
    expect(text).toMatch(/"image_tokens":1290/);
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
  });

  it('reach a client of the model’s own protocol', async () => {
    const response = await ask(`/v1beta/models/${MODEL}:generateContent`, {
      contents: [{ role: 'user', parts: [{ text: 'a cat' }] }],
      generationConfig: { responseModalities: ['TEXT', 'IMAGE'], maxOutputTokens: 2_000 },
    });
    const answer = (await response.json()) as GeminiAnswer;
    expect(answer.candidates[0]?.content.parts[1]?.inlineData?.mimeType).toBe('image/png');
    expect(answer.usageMetadata.costUsd).toBeGreaterThanOrEqual(PICTURE_USD);
  });

  it('are offered in the list of models', async () => {
    const response = await fetch(`${world.url('us')}/v1/models/${MODEL}`, { headers: { authorization: `Bearer ${world.apiKey}` } });
    expect(await response.json()).toMatchObject({ id: MODEL });
  });
});
