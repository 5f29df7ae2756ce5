/** Requests that several caps apply to at once: what each of them counts, and which one is named when it is used up. */
import { ApiClient, type Json, listField, textField } from '@meridian/local/operator';
import { type Customer, keyWorks, provisionAccount } from '@meridian/local/provision';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, until, World } from '../world/world.ts';

const TIMEOUT_MS = 120_000;
/** How long a denial is remembered, and a little. */
const DENIAL_AGE_MS = 1_200;
/** What counting the input exactly, where its bound by bytes does not fit, may gain a short request in output. */
const EXACT_COUNT_TOKENS = 100;
const BASES = ['/v1', '/api/v1'] as const;

let world: World;
let customer: Customer;
let account: ApiClient;
let keyId: string;
let key: string;

beforeAll(async () => {
  world = await World.start();
  customer = await provisionAccount(world.operator, 'Capped all over', '20', 'unlimited');
  account = new ApiClient(world.controlUrl, customer.accountToken);
  const made = await account.post('/v1/keys', { name: 'capped', caps: { daily_usd: 5 } });
  keyId = textField(made, 'id');
  key = textField(made, 'key');
  await setCaps('member', { monthly_usd: 6, daily_chat_completions: 50 });
  await setCaps('account', { daily_usd: 7 });
  for (const region of REGIONS) {
    await until(() => keyWorks(world.url(region), key), `the key to work in ${region}`);
    await until(async () => (await caps(region)).length === 4, `all caps to be known in ${region}`);
  }
}, TIMEOUT_MS);
afterAll(() => world?.stop());

type Scope = 'key' | 'member' | 'account';

function setCaps(scope: Scope, change: Json): Promise<Json> {
  const path = { key: `/v1/keys/${keyId}`, member: `/v1/account/members/${customer.memberId}`, account: '/v1/account' }[scope];
  return account.patch(path, { caps: change });
}

/** As a client with the key sees them; of the control plane, whose place a node's copy without any figures takes when it is slow. */
async function caps(region: RegionName): Promise<readonly Json[]> {
  let told: readonly Json[] = [];
  await until(async () => {
    const response = await fetch(`${world.url(region)}/v1/me`, { headers: { authorization: `Bearer ${key}` } });
    told = ((await response.json()) as { caps: Json[] }).caps;
    return told.every((cap) => typeof spentOf(cap) === 'number');
  }, `the figures of the control plane in ${region}`);
  return told;
}

/** Undefined where only the control plane could say. */
function spentOf(cap: Json): number | undefined {
  const spent = cap.unit === 'nano_usd' ? cap.spent_nano : cap.spent;
  return spent === null || spent === undefined ? undefined : Number(spent);
}

interface Answer {
  readonly status: number;
  readonly costNano: number;
  readonly error: Json;
}

const CHAT = { model: 'gpt-5.4-mini', max_tokens: 32, messages: [{ role: 'user', content: 'Go on. [[sim tokens=20]]' }] };
const KINDS = {
  whole: { path: '/chat/completions', body: CHAT },
  stream: { path: '/chat/completions', body: { ...CHAT, stream: true, stream_options: { include_usage: true } } },
  embeddings: { path: '/embeddings', body: { model: 'text-embedding-3-small', input: 'some text to embed' } },
} as const;
type Kind = keyof typeof KINDS;

/** A 503 says that nobody could tell in time, which is no answer yet: it is asked again, as the SDKs do. */
async function ask(region: RegionName, kind: Kind, fields: object = {}, base: string = BASES[0]): Promise<Answer> {
  let answer = await askOnce(region, kind, fields, base);
  await until(
    async () => {
      if (answer.status !== 503) return true;
      answer = await askOnce(region, kind, fields, base);
      return false;
    },
    `somebody to tell of ${kind} in ${region}`,
    30_000,
  );
  return answer;
}

async function askOnce(region: RegionName, kind: Kind, fields: object, base: string): Promise<Answer> {
  const { path, body } = KINDS[kind];
  const response = await fetch(`${world.url(region)}${base}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, ...fields }),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  const cost = /"cost_usd":([\d.e-]+)/.exec(text)?.[1];
  return {
    status: response.status,
    costNano: cost === undefined ? 0 : Math.round(Number(cost) * 1e9),
    error: response.ok ? {} : ((JSON.parse(text) as { error: Json }).error ?? {}),
  };
}

/** The answer once it is one that a change of caps has reached. */
async function refused(region: RegionName, kind: Kind, fields: object = {}, base: string = BASES[0]): Promise<Answer> {
  let answer = await ask(region, kind, fields, base);
  await until(async () => {
    if (answer.status === 402 || answer.status === 429) return true;
    answer = await ask(region, kind, fields, base);
    return false;
  }, `${kind} to be refused in ${region}`);
  return answer;
}

async function served(region: RegionName, kind: Kind): Promise<void> {
  await until(async () => (await ask(region, kind)).status === 200, `${kind} to be served again in ${region}`);
}

async function quiet(): Promise<void> {
  await world.upstreamIdle();
  for (const region of REGIONS) {
    for (const unit of ['nano_usd', 'chat_completions']) {
      await until(
        async () => (await world.gauge(region, `meridian_lease_reserved{unit="${unit}"}`)) === 0,
        `nothing to be set aside in ${region}`,
      );
    }
  }
  await world.reported();
}

describe('caps of a key, a member and an account', { timeout: TIMEOUT_MS }, () => {
  it('count the same charges, each in its unit: embeddings and streams too, and only chats as chats', async () => {
    let costNano = 0;
    let chats = 0;
    for (const region of REGIONS) {
      for (const kind of ['whole', 'stream', 'embeddings', 'whole'] as const) {
        const answer = await ask(region, kind);
        expect(answer.status).toBe(200);
        expect(answer.costNano).toBeGreaterThan(0);
        costNano += answer.costNano;
        if (kind !== 'embeddings') chats++;
      }
      expect((await ask(region, 'whole', { messages: [{ role: 'user', content: 'No. [[sim status=400]]' }] })).status).toBe(400);
    }
    await quiet();
    const standing = await caps('us');
    expect(standing.map((cap) => `${cap.scope} ${cap.window} ${cap.unit} ${spentOf(cap)}`).toSorted()).toEqual(
      [
        `key utc_day nano_usd ${costNano}`,
        `member utc_month nano_usd ${costNano}`,
        `member utc_day chat_completions ${chats}`,
        `account utc_day nano_usd ${costNano}`,
      ].toSorted(),
    );
    const credits = await account.get('/v1/credits');
    expect(BigInt(textField(credits, 'balance_nano'))).toBe(20_000_000_000n - BigInt(costNano));
    const receipts = await sql<{ total: string }>`
      SELECT sum(charge_nano)::text AS total FROM usage_event WHERE key_id = ${keyId}`.execute(world.database.db);
    expect(receipts.rows).toEqual([{ total: String(costNano) }]);
  });

  it.each<[Scope, Json, Json, Json]>([
    ['key', { daily_usd: 0 }, { daily_usd: 5 }, { code: 'budget_exceeded', scope: 'key', window: 'utc_day', limit_usd: '0.00' }],
    [
      'member',
      { monthly_usd: 0 },
      { monthly_usd: 6 },
      { code: 'budget_exceeded', scope: 'member', window: 'utc_month', limit_usd: '0.00' },
    ],
    ['account', { daily_usd: 0 }, { daily_usd: 7 }, { code: 'budget_exceeded', scope: 'account', window: 'utc_day', limit_usd: '0.00' }],
    [
      'member',
      { daily_chat_completions: 0 },
      { daily_chat_completions: 50 },
      { code: 'daily_limit_exceeded', scope: 'member', window: 'utc_day', unit: 'chat_completions', limit: 0 },
    ],
  ])('name the one of the %s that is used up (%o) and set nothing aside in the others', async (scope, used, again, named) => {
    await setCaps(scope, used);
    for (const region of REGIONS) {
      const { error } = await refused(region, 'whole');
      expect(error).toMatchObject(named);
      expect((await ask(region, 'stream')).error).toMatchObject(named);
      // Only chats are counted as such.
      if (named.unit === 'chat_completions') expect((await ask(region, 'embeddings')).status).toBe(200);
      else expect((await refused(region, 'embeddings')).error).toMatchObject(named);
      for (const unit of ['nano_usd', 'chat_completions']) {
        expect(await world.gauge(region, `meridian_lease_reserved{unit="${unit}"}`)).toBe(0);
      }
    }
    await setCaps(scope, again);
    for (const region of REGIONS) await served(region, 'whole');
  });

  it('name the key before the account where both are used up', async () => {
    await setCaps('account', { daily_usd: 0 });
    await setCaps('key', { daily_usd: 0 });
    await until(async () => (await refused('us', 'whole')).error.scope === 'key', 'the key to be named');
    await setCaps('key', { daily_usd: 5 });
    await until(async () => (await refused('us', 'whole')).error.scope === 'account', 'the account to be named');
    await setCaps('account', { daily_usd: 7 });
    await served('us', 'whole');
  });

  it('refuse every kind of request at every path, before a provider is called', async () => {
    await setCaps('key', { daily_usd: 0 });
    for (const region of REGIONS) await refused(region, 'whole');
    await world.upstreamIdle();
    const before = (await world.journal()).length;
    for (const region of REGIONS) {
      for (const base of BASES) {
        for (const kind of Object.keys(KINDS) as Kind[]) {
          expect(await ask(region, kind, {}, base)).toMatchObject({ status: 402, error: { code: 'budget_exceeded', scope: 'key' } });
        }
      }
    }
    expect((await world.journal()).length).toBe(before);
    await setCaps('key', { daily_usd: 5 });
    for (const region of REGIONS) for (const kind of Object.keys(KINDS) as Kind[]) await served(region, kind);
  });
});

function spentNanoOf(cap: Json | undefined): number {
  const spent = cap === undefined ? undefined : spentOf(cap);
  if (spent === undefined) throw new Error(`nothing told of what is spent: ${JSON.stringify(cap)}`);
  return spent;
}

describe('what a cap has left', { timeout: TIMEOUT_MS }, () => {
  it('is one number: what is shown, what a refusal names, and what is admitted', async () => {
    const capUsd = 0.002;
    await quiet();
    const [shown] = (await caps('us')).filter((cap) => cap.scope === 'key');
    const limitNano = spentNanoOf(shown) + capUsd * 1e9;
    await setCaps('key', { daily_usd: (limitNano / 1e9).toFixed(9) });
    const huge = { max_tokens: 100_000 };
    for (const region of REGIONS) {
      await until(async () => (await ask(region, 'whole', huge)).status === 402, 'the lowered cap to arrive');
      expect((await ask(region, 'whole')).status).toBe(200);
    }
    await quiet();
    // A denial may be from before that was settled.
    await new Promise((resolve) => setTimeout(resolve, DENIAL_AGE_MS));
    const { error } = await refused('eu', 'whole', huge);
    const [after] = (await caps('eu')).filter((cap) => cap.scope === 'key');
    const leftNano = Number(after?.limit_nano) - spentNanoOf(after);
    expect(leftNano).toBeGreaterThan(0);
    expect(Number(after?.left_nano) + Number(after?.reserved_nano)).toBe(leftNano);
    expect(Math.round(Number(error.left_usd) * 1e9)).toBe(leftNano);
    const fits = Number(error.max_tokens);
    expect(fits).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, DENIAL_AGE_MS));
    // The other node, which holds some of it: that is called back.
    expect((await ask('us', 'whole', { max_tokens: fits + EXACT_COUNT_TOKENS })).status).toBe(402);
    const fitting = await ask('us', 'whole', { max_tokens: fits });
    expect(fitting).toMatchObject({ status: 200 });
    await quiet();
    const [last] = (await caps('us')).filter((cap) => cap.scope === 'key');
    expect(spentNanoOf(last)).toBe(spentNanoOf(after) + fitting.costNano);
    expect(spentNanoOf(last)).toBeLessThanOrEqual(limitNano);
    const listed = listField(await account.get('/v1/keys')).find((one) => one.id === keyId);
    expect(((listed?.caps ?? []) as Json[])[0]).toMatchObject({ spent_nano: last?.spent_nano, limit_nano: last?.limit_nano });
  });
});
