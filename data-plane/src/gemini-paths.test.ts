/** The paths of Gemini as a node serves them, to an upstream of the same protocol. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Provider, startTestNode, type TestNode } from './testing.ts';

const ANSWER = {
  candidates: [{ content: { role: 'model', parts: [{ text: 'Hello.' }] }, finishReason: 'STOP', index: 0 }],
  usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 3, totalTokenCount: 13 },
  modelVersion: 'gemini-3-pro',
};

let node: TestNode;
let asked: (string | undefined)[];

const provider: Provider = (request, response) => {
  asked.push(request.url);
  const isStream = request.url?.includes('streamGenerateContent') === true;
  response.writeHead(200, { 'content-type': isStream ? 'text/event-stream' : 'application/json' });
  if (request.url?.includes(':countTokens') === true) response.end('{"totalTokens":7}');
  else response.end(isStream ? `data: ${JSON.stringify(ANSWER)}\r\n\r\n` : JSON.stringify(ANSWER));
};

beforeEach(async () => {
  asked = [];
  node = await startTestNode(provider, { endpoint: { dialect: 'gemini' }, adapter: 'gemini' });
});
afterEach(() => node.stop());

function ask(path: string, keyIn: 'header' | 'address'): Promise<Response> {
  const [plain, query] = path.split('?');
  const parameters = [...(query === undefined ? [] : [query]), ...(keyIn === 'address' ? [`key=${node.apiKey}`] : [])];
  return fetch(`${node.url}${plain}${parameters.length === 0 ? '' : `?${parameters.join('&')}`}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(keyIn === 'header' ? { 'x-goog-api-key': node.apiKey } : {}) },
    body: JSON.stringify({ contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] }),
  });
}

describe('a call at a path of Gemini', () => {
  it.each(['m-1.5', 'acme/m-1.5', 'acme%2Fm-1.5'])('finds the model at %s, with the key in the header or in the address', async (name) => {
    for (const prefix of ['/v1beta', '/genai/v1beta', '/genai/v1', '/v1']) {
      for (const keyIn of ['header', 'address'] as const) {
        const whole = await ask(`${prefix}/models/${name}:generateContent`, keyIn);
        expect([prefix, keyIn, whole.status]).toEqual([prefix, keyIn, 200]);
        expect(await whole.json()).toMatchObject({ candidates: [{ content: { parts: [{ text: 'Hello.' }] } }] });
        const events = await (await ask(`${prefix}/models/${name}:streamGenerateContent?alt=sse`, keyIn)).text();
        expect(events).toMatch(/^data: \{.*Hello\..*\}\r\n\r\n$/s);
        const list = await ask(`${prefix}/models/${name}:streamGenerateContent`, keyIn);
        expect(await list.json()).toMatchObject([{ candidates: [{ content: { parts: [{ text: 'Hello.' }] } }] }]);
      }
    }
    expect(new Set(asked.map((path) => path?.split('?')[0]))).toEqual(
      new Set(['/v1/models/up-m-1.5:generateContent', '/v1/models/up-m-1.5:streamGenerateContent']),
    );
    // The client's key is for nobody else.
    expect(asked.join()).not.toContain(node.apiKey);
  });

  it('counts tokens there', async () => {
    const answer = await ask('/v1beta/models/acme/m-1.5:countTokens', 'address');
    expect([answer.status, await answer.json()]).toEqual([200, { totalTokens: 7 }]);
    expect(asked.map((path) => path?.split('?')[0])).toEqual(['/v1/models/up-m-1.5:countTokens']);
  });
});
