import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { answerWith, type Provider, portOf, startTestNode, type TestNode } from './testing.ts';

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const GEMINI = {
  candidates: [{ content: { role: 'model', parts: [{ text: 'A pixel.' }] }, finishReason: 'STOP', index: 0 }],
  usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 3, totalTokenCount: 13 },
};

let node: TestNode;
let pictures: Server | undefined;
afterEach(async () => {
  await node.stop();
  pictures?.closeAllConnections();
  pictures?.close();
  pictures = undefined;
});

async function picturesAt(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  pictures = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${portOf(server)}`;
}

function ask(url: string): Promise<Response> {
  const content = [
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url } },
  ];
  return fetch(`${node.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content }], max_tokens: 50 }),
  });
}

const SKETCH = { endpoint: { dialect: 'gemini' }, adapter: 'gemini', account: { balanceNano: 1_000_000_000_000n } } as const;

describe('a picture by its address, for a model that does not fetch', () => {
  it('is fetched and sent along', async () => {
    const origin = await picturesAt((_, response) => response.end(Buffer.from(PIXEL, 'base64')));
    const bodies: unknown[] = [];
    const provider: Provider = (request, response, body) => {
      bodies.push(JSON.parse(body));
      answerWith(JSON.stringify(GEMINI))(request, response, body);
    };
    node = await startTestNode(provider, SKETCH);
    const answer = await ask(`${origin}/pixel`);
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: 'A pixel.' } }] });
    expect(JSON.stringify(bodies[0])).toContain(`{"inlineData":{"mimeType":"image/png","data":"${PIXEL}"}}`);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success', usage: { input: 10, output: 3 } }]);
  });

  it('that is not there is 400, calls no provider, and gives back what was set aside', async () => {
    const origin = await picturesAt((request, response) => {
      if (request.url === '/pixel') response.end(Buffer.from(PIXEL, 'base64'));
      else response.writeHead(404).end();
    });
    // Enough for one of them at a time.
    node = await startTestNode(answerWith(JSON.stringify(GEMINI)), { ...SKETCH, account: { balanceNano: 100_000_000n } });
    const answer = await ask(`${origin}/none`);
    expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining('status 404')]);
    expect(node.asked).toHaveLength(0);
    expect((await ask(`${origin}/pixel`)).status).toBe(200);
  });
});
