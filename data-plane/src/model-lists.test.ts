import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANSWER, answerWith, startTestNode, type TestNode } from './testing.ts';

let node: TestNode;
beforeAll(async () => {
  const mapped = { name: 'claude-opus-4-7', modelId: 'm-1.5', accountId: 'acc_1' };
  node = await startTestNode(answerWith(ANSWER), { aliases: [mapped] });
});
afterAll(() => node.stop());

interface Answer {
  readonly status: number;
  // What it says is for the test to know.
  readonly body: Record<string, never>;
}

async function get(path: string, headers: Record<string, string>): Promise<Answer> {
  const response = await fetch(`${node.url}${path}`, { headers });
  return { status: response.status, body: (await response.json()) as Record<string, never> };
}

const openai = (path: string): Promise<Answer> => get(path, { authorization: `Bearer ${node.apiKey}` });
const anthropic = (path: string): Promise<Answer> => get(path, { 'x-api-key': node.apiKey, 'anthropic-version': '2023-06-01' });
const gemini = (path: string): Promise<Answer> => get(path, { 'x-goog-api-key': node.apiKey });

describe('the models of a key', () => {
  it('are told to an OpenAI client as OpenAI does', async () => {
    const { status, body } = await openai('/v1/models');
    expect([status, body]).toMatchObject([200, { object: 'list', data: [{ id: 'embed-1' }, { id: 'm-1.5', object: 'model' }] }]);
    expect((await openai('/v1/models/claude-opus-4.7')).body).toMatchObject({ id: 'm-1.5', owned_by: 'acme' });
    expect(await openai('/v1/models/nothing')).toMatchObject({
      status: 404,
      body: { error: { code: 'model_not_found', param: 'model' } },
    });
  });

  it('are told to an Anthropic client as Anthropic does, page by page, with its errors', async () => {
    const { status, body } = await anthropic('/v1/models?limit=1');
    expect([status, body]).toMatchObject([
      200,
      { data: [{ type: 'model', id: 'm-1.5' }], has_more: false, first_id: 'm-1.5', last_id: 'm-1.5' },
    ]);
    expect((await anthropic('/v1/models?after_id=m-1.5')).body).toEqual({ data: [], has_more: false, first_id: null, last_id: null });
    expect((await anthropic('/v1/models/claude-opus-4-7')).body).toMatchObject({ type: 'model', id: 'm-1.5', max_input_tokens: 1000 });
    expect(await anthropic('/v1/models/nothing')).toMatchObject({
      status: 404,
      body: { type: 'error', error: { type: 'not_found_error' } },
    });
    expect(await anthropic('/v1/models?limit=0')).toMatchObject({
      status: 400,
      body: { type: 'error', error: { type: 'invalid_request_error' } },
    });
  });

  it.each(['/v1beta', '/genai/v1beta', '/genai/v1', '/v1'])(
    'are told to a Gemini client under %s as Gemini does, page by page, with its errors',
    async (prefix) => {
      const first = await gemini(`${prefix}/models?pageSize=1`);
      expect(first).toMatchObject({ status: 200, body: { models: [{ name: 'models/embed-1' }], nextPageToken: expect.any(String) } });
      const second = await gemini(`${prefix}/models?pageSize=1&pageToken=${first.body.nextPageToken}`);
      expect(second.body).toMatchObject({ models: [{ name: 'models/m-1.5', inputTokenLimit: 1000 }] });
      expect(second.body).not.toHaveProperty('nextPageToken');
      for (const name of ['m-1.5', 'acme/m-1.5', 'acme%2Fm-1.5', 'claude-opus-4-7']) {
        expect((await gemini(`${prefix}/models/${name}`)).body).toMatchObject({ name: 'models/m-1.5' });
      }
      expect(await gemini(`${prefix}/models/nothing`)).toMatchObject({ status: 404, body: { error: { code: 404, status: 'NOT_FOUND' } } });
      expect(await gemini(`${prefix}/models?pageToken=no`)).toMatchObject({ status: 400, body: { error: { status: 'INVALID_ARGUMENT' } } });
    },
  );

  it('are told to a Gemini client that shows its key in the address, where the path is only its own', async () => {
    for (const prefix of ['/v1beta', '/genai/v1beta', '/genai/v1']) {
      expect(await get(`${prefix}/models/m-1.5?key=${node.apiKey}`, {})).toMatchObject({ status: 200, body: { name: 'models/m-1.5' } });
    }
    expect(await get(`/v1/models/m-1.5?key=${node.apiKey}`, {})).toMatchObject({ status: 200, body: { object: 'model' } });
  });

  it('name endpoints that are there', async () => {
    const { body } = await openai('/v1/models');
    const models = body as unknown as { data: { id: string; supported_endpoints: string[] }[] };
    const paths = models.data.flatMap(({ id, supported_endpoints }) => supported_endpoints.map((path) => path.replace('{model}', id)));
    expect(paths.length).toBeGreaterThanOrEqual(8);
    for (const path of paths) {
      const answer = await fetch(`${node.url}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
        body: '[]',
      });
      await answer.arrayBuffer();
      // What is no request, is no request of this endpoint's.
      expect([path, answer.status]).toEqual([path, 400]);
    }
  });
});
