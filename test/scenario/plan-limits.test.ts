/** What a plan allows, in two regions at once: chat completions a day, models, the length of messages, and the API at all. */
import { ApiClient, type Json, textField } from '@meridian/local/operator';
import { keyWorks, provisionAccount } from '@meridian/local/provision';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, until, World } from '../world/world.ts';
import { sendHalf } from './half-sent.ts';

const SETUP_MS = 120_000;
const DAY_MS = 86_400_000;
const NO_MIDNIGHT_MS = 60_000;
const DAILY = 6;
const MODEL = 'gpt-5-nano';

let world: World;
let accountId: string;
let memberId: string;
let key: string;

beforeAll(async () => {
  // A day that ends in between would count twice.
  const leftMs = DAY_MS - (Date.now() % DAY_MS);
  if (leftMs < NO_MIDNIGHT_MS) await new Promise((resolve) => setTimeout(resolve, leftMs));
  world = await World.start();
  await savePlan({});
  const customer = await provisionAccount(world.operator, 'On a plan', '20', 'small');
  ({ accountId, memberId } = customer);
  key = textField(await new ApiClient(world.controlUrl, customer.accountToken).post('/v1/keys', { name: 'k' }), 'key');
  for (const region of REGIONS) await until(() => keyWorks(world.url(region), key), `the key to work in ${region}`);
}, SETUP_MS + NO_MIDNIGHT_MS);
afterAll(() => world?.stop());

function savePlan(change: Json): Promise<Json> {
  return world.operator.post('/admin/v1/plans', { id: 'small', name: 'Small', api_access: true, daily_chat_completions: DAILY, ...change });
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly error: Json;
}

async function post(region: RegionName, path: string, body: Json): Promise<Answer> {
  const response = await fetch(`${world.url(region)}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const { error = {} } = (await response.json()) as { error?: Json };
  return { status: response.status, headers: response.headers, error };
}

const chat = (region: RegionName, text = 'Go on.', fields: Json = {}): Promise<Answer> =>
  post(region, '/v1/chat/completions', {
    model: MODEL,
    max_tokens: 16,
    messages: [{ role: 'user', content: `${text} [[sim tokens=2]]` }],
    ...fields,
  });

/** A 503 is no answer: nobody could say, so it is asked again. */
async function settled(ask: () => Promise<Answer>): Promise<Answer> {
  for (let attempt = 0; ; attempt++) {
    const answer = await ask();
    if (answer.error.code !== 'budget_unavailable' || attempt === 50) return answer;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

describe('a plan', { timeout: SETUP_MS }, () => {
  it('lets a member have so many chat completions a day over all regions, and counts no others', async () => {
    // What fails, what is refused and what is no generation count for nothing.
    for (const region of REGIONS) {
      expect((await settled(() => chat(region, '[[sim status=500]]'))).status).toBe(502);
      expect((await settled(() => chat(region, 'x', { max_tokens: -1 }))).status).toBe(400);
      expect((await settled(() => chat(region, 'x', { model: 'nothing' }))).status).toBe(404);
      expect((await settled(() => post(region, '/v1/embeddings', { model: 'text-embedding-3-small', input: 'x' }))).status).toBe(200);
    }
    const answers = await Promise.all(Array.from({ length: 2 * DAILY }, (_, index) => settled(() => chat(REGIONS[index % 2] ?? 'us'))));
    expect(answers.filter(({ status }) => status === 200).length).toBe(DAILY);
    const refused = answers.filter(({ status }) => status !== 200);
    for (const { status, headers, error } of refused) {
      expect([status, error.code, error.scope, error.limit]).toEqual([429, 'daily_limit_exceeded', 'member', DAILY]);
      expect(headers.get('x-should-retry')).toBe('false');
      const seconds = Number(headers.get('retry-after'));
      const midnightMs = Date.parse(String(error.resets_at));
      expect(midnightMs % DAY_MS).toBe(0);
      expect(Math.abs(midnightMs - Date.now() - seconds * 1000)).toBeLessThan(60_000);
    }
    expect((await settled(() => post('us', '/v1/embeddings', { model: 'text-embedding-3-small', input: 'x' }))).status).toBe(200);
  });

  it('that allows more, or an operator who does, lets the member go on', async () => {
    await savePlan({ daily_chat_completions: DAILY + 1 });
    await until(async () => (await chat('eu')).status === 200, 'one more to be let through');
    expect((await settled(() => chat('us'))).error.code).toBe('daily_limit_exceeded');
    await world.operator.patch(`/admin/v1/accounts/${accountId}/members/${memberId}/limits`, { daily_chat_completions: null });
    for (const region of REGIONS) await until(async () => (await chat(region)).status === 200, `no limit in ${region}`);
  });

  it('keeps its accounts to its models, in what is listed, too', async () => {
    await savePlan({ models: ['gpt-5.4-mini', 'text-embedding-3-small'] });
    for (const region of REGIONS) {
      await until(async () => (await chat(region)).status === 403, 'the models of the plan');
      expect((await chat(region)).error).toMatchObject({ code: 'model_not_allowed', param: 'model' });
      expect((await chat(region, 'x', { model: 'gpt-5.4-mini' })).status).toBe(200);
      const listed = await fetch(`${world.url(region)}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
      const { data } = (await listed.json()) as { data: { id: string }[] };
      expect(data.map(({ id }) => id)).toEqual(['gpt-5.4-mini', 'text-embedding-3-small']);
    }
  });

  it('bounds the length of a message', async () => {
    await savePlan({ max_message_characters: 100 });
    await until(async () => (await chat('us', 'x'.repeat(101))).status === 400, 'the bound');
    expect((await chat('us', 'x'.repeat(101))).error).toMatchObject({ code: 'invalid_request_error', param: 'messages[0]' });
    expect((await chat('us', 'é'.repeat(60))).status).toBe(200);
  });

  it('without API access refuses before the body is read', async () => {
    await world.operator.patch(`/admin/v1/accounts/${accountId}`, { plan_id: 'none' });
    for (const region of REGIONS) {
      await until(async () => (await chat(region)).status === 403, `no access in ${region}`);
      const half = await sendHalf(world.url(region), '/v1/chat/completions', key, JSON.stringify({ model: MODEL, messages: [] }));
      expect([half.status, half.error.code]).toEqual([403, 'insufficient_tier']);
    }
  });
});
