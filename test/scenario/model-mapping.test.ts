/** An operator gives an account another model under the name that it asks for, in two regions at once, and takes it back. */
import { ApiClient, textField } from '@meridian/local/operator';
import { keyWorks, provisionAccount } from '@meridian/local/provision';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, until, World } from '../world/world.ts';

const SETUP_MS = 120_000;
const ASKED = 'claude-opus-4-7';
const INSTEAD = 'gpt-5-mini';
/** What the simulated model thinks at each effort, in tokens. */
const THOUGHTS = { low: 32, medium: 128 };

let world: World;
let otherKey: string;

beforeAll(async () => {
  world = await World.start();
  const other = await provisionAccount(world.operator, 'Not mapped', '20', 'unlimited');
  otherKey = textField(await new ApiClient(world.controlUrl, other.accountToken).post('/v1/keys', { name: 'k' }), 'key');
  for (const region of REGIONS) await until(() => keyWorks(world.url(region), otherKey), `the key to work in ${region}`);
}, SETUP_MS);
afterAll(() => world?.stop());

interface Answer {
  readonly status: number;
  readonly model: string;
  readonly actualModel: string | null;
  readonly requestId: string;
  readonly reasoningTokens: number;
}

async function chat(region: RegionName, model: string, key = world.apiKey): Promise<Answer> {
  const response = await fetch(`${world.url(region)}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens: 400, messages: [{ role: 'user', content: 'Go on. [[sim tokens=2]]' }] }),
  });
  const body = (await response.json()) as { model: string; usage?: { completion_tokens_details?: { reasoning_tokens?: number } } };
  return {
    status: response.status,
    model: body.model,
    actualModel: response.headers.get('x-actual-model'),
    requestId: response.headers.get('x-request-id') ?? '',
    reasoningTokens: body.usage?.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}

async function names(region: RegionName): Promise<Map<string, string[]>> {
  const response = await fetch(`${world.url(region)}/v1/models`, { headers: { authorization: `Bearer ${world.apiKey}` } });
  const { data } = (await response.json()) as { data: { id: string; aliases: string[] }[] };
  return new Map(data.map(({ id, aliases }) => [id, aliases]));
}

const isMapped = ({ actualModel }: Answer): boolean => actualModel?.includes(INSTEAD) === true;

describe('a name that an operator maps', { timeout: SETUP_MS }, () => {
  it('reaches the other model for this account alone, as the operator has it think, and is charged as that model', async () => {
    expect(isMapped(await chat('us', ASKED))).toBe(false);
    const mapping = { name: ASKED, model_id: INSTEAD, account_id: world.accountId, reasoning_effort: 'low' };
    await world.operator.post('/admin/v1/aliases', mapping);
    for (const region of REGIONS) {
      await until(async () => isMapped(await chat(region, ASKED)), `the name to be mapped in ${region}`);
      expect(await chat(region, ASKED)).toMatchObject({ status: 200, model: ASKED, reasoningTokens: THOUGHTS.low });
      expect(isMapped(await chat(region, ASKED, otherKey))).toBe(false);
      const listed = await names(region);
      expect(listed.get(INSTEAD)).toContain(ASKED);
      expect(listed.has(ASKED)).toBe(false);
    }
    const { requestId } = await chat('us', ASKED);
    await world.reported();
    expect(await world.account.get(`/v1/usage/requests/${requestId}`)).toMatchObject({ model: INSTEAD });
  });

  it('follows what the operator changes, and is the model’s own again when it is deleted', async () => {
    const path = `/admin/v1/aliases/${encodeURIComponent(`${ASKED}@ACCOUNT:${world.accountId}`)}`;
    await world.operator.patch(path, { reasoning_effort: 'medium' });
    for (const region of REGIONS) {
      await until(async () => (await chat(region, ASKED)).reasoningTokens === THOUGHTS.medium, `more thoughts in ${region}`);
    }
    await world.operator.delete(path);
    for (const region of REGIONS) {
      await until(async () => !isMapped(await chat(region, ASKED)), `the name to be its own in ${region}`);
      expect((await names(region)).has(ASKED)).toBe(true);
    }
  });
});
