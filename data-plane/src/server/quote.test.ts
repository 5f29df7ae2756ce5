import type { Cap } from '@meridian/domain/budget';
import { afterEach, describe, expect, it } from 'vitest';
import { ANSWER, answerWith, startTestNode, type TestNode } from '../testing.ts';

let node: TestNode;
afterEach(() => node.stop());

const CHAT = { model: 'm-latest', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 50 };

async function post(path: string, body: object | string): Promise<{ status: number; json: Readonly<Record<string, unknown>> }> {
  const response = await fetch(node.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, json: (await response.json()) as Readonly<Record<string, unknown>> };
}

describe('/v1/quote', () => {
  it('tells what a request would cost at most, sets nothing aside, writes nothing and calls nobody', async () => {
    node = await startTestNode(answerWith(ANSWER));
    const { status, json } = await post('/v1/quote', CHAT);
    expect(status).toBe(200);
    const input = Buffer.byteLength(JSON.stringify(CHAT)) + 8 + 768;
    const nano = BigInt(input) * 1_400n + 50n * 5_600n;
    expect(json).toEqual({
      object: 'quote',
      model: 'm-1.5',
      max_cost_usd: expect.stringMatching(/^0\.00\d+$/),
      max_cost_nano: nano.toString(),
      input_tokens_bound: input,
      max_output_tokens: 50,
      admitted: true,
    });
    expect(node.bank.reservations).toBe(0);
    expect(node.bank.leaseOn({ capId: 'prepaid_acc_1', windowStartMs: 0 })).toMatchObject({ reserved: 0, used: 0 });
    expect(node.asked).toEqual([]);
    // The request itself reserves just that, and leaves the only final.
    await post('/v1/chat/completions', CHAT);
    const finals = await node.finals(1);
    expect(finals.map((final) => final.maxCostNano)).toEqual([nano]);
  });

  it('knows embeddings by their fields, and by name', async () => {
    node = await startTestNode(answerWith(ANSWER));
    const body = { model: 'embed-1', input: ['a', 'b'] };
    const expected = { object: 'quote', model: 'embed-1', max_output_tokens: 0, input_tokens_bound: JSON.stringify(body).length };
    expect((await post('/v1/quote', body)).json).toMatchObject(expected);
    expect((await post('/v1/quote?operation=embeddings', body)).json).toMatchObject(expected);
    expect(await post('/v1/quote?operation=chat', body)).toMatchObject({ status: 400, json: { error: { param: 'messages' } } });
    for (const query of ['?operation=images', '?operation=chat&operation=chat']) {
      expect(await post(`/v1/quote${query}`, CHAT)).toMatchObject({ status: 400, json: { error: { param: 'operation' } } });
    }
  });

  it('says why a request would be refused, as the request would hear it', async () => {
    const caps: readonly Cap[] = [
      { id: 'cap_k', accountId: 'acc_1', scope: 'key', scopeId: 'key_1', window: 'utc_day', unit: 'nano_usd', limit: 100 },
    ];
    node = await startTestNode(answerWith(ANSWER), {}, caps);
    const { error } = (await post('/v1/chat/completions', CHAT)).json as { error: Readonly<Record<string, unknown>> };
    const { type: _, param: __, ...told } = error;
    expect(told).toMatchObject({ code: 'budget_exceeded', left_usd: '0.0000001' });
    expect((await post('/v1/quote', CHAT)).json).toMatchObject({ admitted: false, reason: { status: 402, ...told } });
    expect(node.bank.reservations).toBe(0);
  });

  it.each<[string, object | string]>([
    ['a model that does not exist', { ...CHAT, model: 'm-9' }],
    ['a body that is no JSON', '{'],
    ['what has no bound', { ...CHAT, max_tokens: undefined, web_search_options: {} }],
    ['a name that stands twice', '{"model":"m-1.5","messages":[{}],"messages":[{}]}'],
  ])('fails for %s as the request does', async (_, body) => {
    node = await startTestNode(answerWith(ANSWER));
    const real = await post('/v1/chat/completions', body);
    expect(real.status).toBeGreaterThanOrEqual(400);
    expect(await post('/v1/quote', body)).toEqual(real);
  });

  it('tells the cost also where nobody can say what is left', async () => {
    node = await startTestNode(answerWith(ANSWER));
    node.bank.disconnect();
    expect(await post('/v1/quote', CHAT)).toMatchObject({
      status: 200,
      json: { max_cost_nano: expect.stringMatching(/^[1-9]\d+$/), admitted: false, reason: { code: 'budget_unavailable', status: 503 } },
    });
  });
});
