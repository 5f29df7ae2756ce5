/** Calls of tools that a provider runs, from its answer to the charge, in both lanes. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Provider, startTestNode, type TestNode } from './testing.ts';

let node: TestNode;
afterEach(() => node.stop());

/** Per million, as all list prices: 25 USD for a thousand calls. */
const A_CALL = 25_000_000_000_000n;
const SKETCH = {
  endpoint: { dialect: 'gemini' },
  adapter: 'gemini',
  account: { balanceNano: 1_000_000_000_000n },
  aliases: [{ name: 'm-thinks', modelId: 'm-1.5', settings: { reasoningEffort: 'low' } }],
  prices: { input: 1_000_000_000n, output: 4_000_000_000n, 'per_tool_call:google_maps': A_CALL },
} as const;
const GROUNDED = {
  candidates: [
    {
      content: { role: 'model', parts: [{ text: 'Around the corner.' }] },
      groundingMetadata: { groundingChunks: [{ maps: { placeId: 'places/1', title: 'A bakery' } }] },
      finishReason: 'STOP',
      index: 0,
    },
  ],
  usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 3, totalTokenCount: 13 },
  modelVersion: 'gemini-3-pro',
};

const provider: Provider = (request, response) => {
  const isStream = request.url?.includes('streamGenerateContent') === true;
  response.writeHead(200, { 'content-type': isStream ? 'text/event-stream' : 'application/json' });
  response.end(isStream ? `data: ${JSON.stringify(GROUNDED)}\r\n\r\n` : JSON.stringify(GROUNDED));
};

function ask(model: string, method: string, tools: readonly object[]): Promise<Response> {
  return fetch(`${node.url}/v1beta/models/${model}:${method}`, {
    method: 'POST',
    headers: { 'x-goog-api-key': node.apiKey, 'content-type': 'application/json' },
    body: JSON.stringify({
      contents: [{ role: 'user', parts: [{ text: 'Where is bread?' }] }],
      tools,
      generationConfig: { maxOutputTokens: 50 },
    }),
  });
}

describe('a search in maps', () => {
  it.each([
    ['passed through', 'm-1.5', 'generateContent'],
    ['passed through, streamed', 'm-1.5', 'streamGenerateContent?alt=sse'],
    ['translated', 'm-thinks', 'generateContent'],
    ['translated, streamed', 'm-thinks', 'streamGenerateContent?alt=sse'],
  ])('is charged, %s', async (_, model, method) => {
    node = await startTestNode(provider, SKETCH);
    const answer = await ask(model, method, [{ googleMaps: {} }]);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain('Around the corner.');
    const [final] = await node.finals(1);
    expect(final).toMatchObject({ outcome: 'success', exactness: 'exact', varianceNano: 0n });
    expect(final?.usage).toEqual({ input: 10, output: 3, 'per_tool_call:google_maps': 1 });
    // With the markup of 40 %.
    expect(final?.chargeNano).toBe(((10n * 1_000n + 3n * 4_000n + A_CALL / 1_000_000n) * 14n) / 10n);
  });

  it('is refused where it has no price, and so are tools whose calls nobody tells', async () => {
    node = await startTestNode(provider, { ...SKETCH, prices: { input: 1n, output: 1n, 'per_tool_call:web_search': A_CALL } });
    for (const [tool, why] of [
      [{ googleMaps: {} }, 'has no price for'],
      [{ fileSearch: { fileSearchStoreNames: ['fileSearchStores/1'] } }, 'has no price for'],
      [{ mcpServers: [{ name: 'x' }] }, 'cannot be counted'],
    ] as const) {
      const answer = await ask('m-1.5', 'generateContent', [tool]);
      expect(answer.status).toBe(400);
      const { error } = (await answer.json()) as { error: { message: string; status: string } };
      expect(error.status).toBe('INVALID_ARGUMENT');
      expect(error.message).toContain(why);
    }
    expect(node.asked).toHaveLength(0);
  });
});
