/** The official OpenAI SDK and refusals for want of money: what cannot get better by itself is not asked again. */
import { startTestNode, type TestNode } from '@meridian/data-plane/testing';
import type { Cap } from '@meridian/domain/budget';
import OpenAI, { APIError } from 'openai';
import { afterEach, describe, expect, it } from 'vitest';

let node: TestNode;
afterEach(() => node.stop());

const cap = (fields: Partial<Cap>): Cap => ({
  id: 'cap_1',
  accountId: 'acc_1',
  scope: 'key',
  scopeId: 'key_1',
  window: 'utc_day',
  unit: 'nano_usd',
  limit: 1_000,
  ...fields,
});

/** The error that the SDK raises, and how often it asked. */
async function refusal(maxRetries: number): Promise<{ readonly error: APIError; readonly calls: number }> {
  let calls = 0;
  const client = new OpenAI({
    baseURL: `${node.url}/v1`,
    apiKey: node.apiKey,
    maxRetries,
    fetch: (url, init) => {
      calls++;
      return fetch(url, init);
    },
  });
  try {
    await client.chat.completions.create({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 10 });
  } catch (error) {
    if (error instanceof APIError) return { error, calls };
    throw error;
  }
  throw new Error('the request was not refused');
}

const answers = (): never => {
  throw new Error('the provider was called');
};

describe('the openai SDK', () => {
  it.each<[string, readonly Cap[], bigint, number, string]>([
    ['a cap in money', [cap({})], 10_000_000_000n, 402, 'budget_exceeded'],
    ['prepaid credit', [], 1_000n, 402, 'insufficient_credits'],
    ['a count', [cap({ unit: 'chat_completions', limit: 0 })], 10_000_000_000n, 429, 'daily_limit_exceeded'],
  ])('does not ask again when %s is used up', async (_, caps, balanceNano, status, code) => {
    node = await startTestNode(answers, { account: { balanceNano } }, caps);
    const { error, calls } = await refusal(3);
    expect(calls).toBe(1);
    expect(error).toMatchObject({ status, code, type: code });
    expect(error.error).toMatchObject({ scope: expect.any(String), window: expect.any(String) });
    if (status === 429) expect(error).toBeInstanceOf(OpenAI.RateLimitError);
  });

  it('asks again where nobody could say', async () => {
    node = await startTestNode(answers);
    node.bank.disconnect();
    const { error, calls } = await refusal(1);
    expect(calls).toBe(2);
    expect(error).toMatchObject({ status: 503, code: 'budget_unavailable' });
  });
});
