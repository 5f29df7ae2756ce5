/** Bursts of requests on budgets that suffice for few of them: never one too many, and never one too few. */
import { ApiClient, textField } from '@meridian/local/operator';
import { keyWorks, provisionAccount, provisionKey } from '@meridian/local/provision';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, type RegionName, until, World } from '../world/world.ts';

const TIMEOUT_MS = 120_000;
/** How long a denial is remembered, and a little. */
const DENIAL_AGE_MS = 1_200;
const SHAPE = { model: 'gpt-5.4-mini', max_tokens: 24 };

let world: World;
beforeAll(async () => {
  world = await World.start();
}, TIMEOUT_MS);
afterAll(() => world?.stop());

interface Answer {
  readonly status: number;
  readonly error: { readonly code?: string; readonly [field: string]: unknown };
}

async function post(region: RegionName, key: string, path: string, knobs: string, fields: object = {}): Promise<Answer> {
  const response = await fetch(`${world.url(region)}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...SHAPE, messages: [{ role: 'user', content: `Go on. [[sim ${knobs}]]` }], ...fields }),
    signal: AbortSignal.timeout(30_000),
  });
  const text = await response.text();
  const body = text.startsWith('{') ? JSON.parse(text) : {};
  return { status: response.status, error: response.ok ? body : body.error };
}

/** Asks until there is an answer that means something: not for a node that does not know the key yet, nor where nobody could say. */
async function insist(region: RegionName, key: string, knobs: string, fields: object = {}): Promise<Answer> {
  const endMs = Date.now() + 30_000;
  for (;;) {
    const answer = await post(region, key, '/v1/chat/completions', knobs, fields);
    if ((answer.status !== 401 && answer.error?.code !== 'budget_unavailable') || Date.now() > endMs) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `count` requests at once, every other one in another region. */
function burst(count: number, one: (region: RegionName, index: number) => Promise<Answer>): Promise<Answer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => one(REGIONS[index % REGIONS.length] ?? 'us', index)));
}

function tally(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, error } of answers) {
    const name = status === 200 ? 'answered' : `${status} ${error?.code}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

async function quiet(): Promise<void> {
  await world.upstreamIdle();
  for (const region of REGIONS) {
    await until(async () => (await world.gauge(region, 'meridian_running_requests')) === 0, `the requests of ${region} to be settled`);
    for (const unit of ['nano_usd', 'chat_completions']) {
      await until(
        async () => (await world.gauge(region, `meridian_lease_reserved{unit="${unit}"}`)) === 0,
        `nothing to be set aside in ${region}`,
      );
    }
  }
  await world.reported();
}

/** Requests of a key that were charged, and what all of an account's were charged. */
async function charged(where: { readonly keyId: string } | { readonly accountId: string }): Promise<{ count: number; nano: bigint }> {
  const [column, id] = 'keyId' in where ? ['key_id', where.keyId] : ['account_id', where.accountId];
  const { rows } = await sql<{ count: string; nano: string }>`
    SELECT count(*) FILTER (WHERE charge_nano > 0)::text AS count, coalesce(sum(charge_nano), 0)::text AS nano
    FROM usage_event WHERE ${sql.ref(column)} = ${id}`.execute(world.database.db);
  return { count: Number(rows[0]?.count), nano: BigInt(rows[0]?.nano ?? 0) };
}

describe('fifty requests at once on credit for five', { timeout: TIMEOUT_MS }, () => {
  it('never take it below zero, and it can be spent to the last request', async () => {
    const customer = await provisionAccount(world.operator, 'Nearly empty', '0.000001', 'unlimited');
    const account = new ApiClient(world.controlUrl, customer.accountToken);
    const key = await provisionKey(account, 'nearly empty');
    for (const region of REGIONS) await until(() => keyWorks(world.url(region), key), `the key to work in ${region}`);
    const mostNano = await quoted(key);
    const creditNano = 1_000n + 5n * mostNano + mostNano / 2n;
    await world.operator.post(
      `/admin/v1/accounts/${customer.accountId}/credits`,
      { type: 'topup', amount_usd: usd(creditNano - 1_000n) },
      { 'idempotency-key': 'enough for five' },
    );
    const answers = await burst(50, (region) => insist(region, key, 'tokens=20 delay_ms=200'));
    const counts = tally(answers);
    expect(Object.keys(counts).toSorted()).toEqual(['402 insufficient_credits', 'answered']);
    await quiet();
    const after = await charged(customer);
    expect(after.count).toBe(counts.answered);
    expect(after.nano).toBeLessThanOrEqual(creditNano);
    expect(await balance(account)).toBe(creditNano - after.nano);

    // What came back when they were charged less than they could have cost is there for others, one after the other.
    await new Promise((resolve) => setTimeout(resolve, DENIAL_AGE_MS));
    let last: Answer = { status: 0, error: {} };
    for (let index = 0; index < 200 && last.status !== 402; index++) {
      last = await insist(index % 2 === 0 ? 'us' : 'eu', key, 'tokens=20');
      expect([200, 402]).toContain(last.status);
    }
    await quiet();
    const leftNano = await balance(account);
    expect(leftNano).toBe(creditNano - (await charged(customer)).nano);
    expect(leftNano).toBeGreaterThanOrEqual(0n);
    expect(leftNano).toBeLessThan(mostNano);
    expect(last.error).toMatchObject({ code: 'insufficient_credits', left_usd: usd(leftNano) });
    // Its input was counted exactly before it was refused, so that it may need less than was quoted.
    expect(Number(last.error.required_usd)).toBeGreaterThan(Number(usd(leftNano)));
    expect(Number(last.error.required_usd)).toBeLessThanOrEqual(Number(usd(mostNano)));
    expect(await world.operator.get('/admin/v1/audit')).toMatchObject({ ok: true });
  });

  async function quoted(key: string): Promise<bigint> {
    const answer = await post('us', key, '/v1/quote', 'tokens=20');
    return BigInt(String(answer.error.max_cost_nano));
  }

  async function balance(account: ApiClient): Promise<bigint> {
    return BigInt(textField(await account.get('/v1/credits'), 'balance_nano'));
  }
});

describe('a cap on the number of requests', { timeout: TIMEOUT_MS }, () => {
  it('holds for the very first ones of a key, all at once and in both regions', async () => {
    const made = await world.account.post('/v1/keys', { name: 'just made', caps: { daily_chat_completions: 5 } });
    const key = textField(made, 'key');
    const answers = await burst(40, (region) => insist(region, key, 'tokens=5 delay_ms=100'));
    expect(tally(answers)).toEqual({ answered: 5, '429 daily_limit_exceeded': 35 });
    for (const { status, error } of answers) if (status === 429) expect(error).toMatchObject({ limit: 5, left: 0, scope: 'key' });
    await quiet();
    expect(await charged({ keyId: textField(made, 'id') })).toMatchObject({ count: 5 });
  });

  it('counts each charged request once among failures and clients that leave, and refuses none too early', async () => {
    const limit = 40;
    const made = await world.account.post('/v1/keys', { name: 'mixed', caps: { daily_chat_completions: limit } });
    const key = textField(made, 'key');
    const keyId = textField(made, 'id');
    for (const region of REGIONS) await until(() => keyWorks(world.url(region), key), `the key to work in ${region}`);
    const answers = await burst(90, async (region, index) => {
      switch (index % 6) {
        case 0:
          return insist(region, key, 'status=400 delay_ms=50');
        case 1:
          return insist(region, key, 'empty');
        case 2:
          return leaving(region, key);
        case 3:
          return insist(region, key, 'tokens=8 pace_ms=5', { stream: true });
        default:
          return insist(region, key, 'tokens=8 delay_ms=30');
      }
    });
    const counts = tally(answers);
    expect(counts.answered).toBeGreaterThan(0);
    await quiet();
    const during = await charged({ keyId });
    expect(during.count).toBeLessThanOrEqual(limit);
    // Nothing is under way any more, and no node remembers a denial from when there was.
    await new Promise((resolve) => setTimeout(resolve, DENIAL_AGE_MS));
    let more = 0;
    for (let status = 200; status === 200 && more <= limit; more++) {
      ({ status } = await insist(more % 2 === 0 ? 'us' : 'eu', key, 'tokens=5'));
      expect([200, 429]).toContain(status);
    }
    await quiet();
    expect(await charged({ keyId })).toMatchObject({ count: limit });
    expect(during.count + more - 1).toBe(limit);
    const shown = await world.account.get(`/v1/keys/${keyId}`);
    expect(shown.caps).toMatchObject([{ limit, spent: limit, reserved: 0, left: 0 }]);

    // Both nodes have been told that there is nothing left; they hear of more.
    await world.account.patch(`/v1/keys/${keyId}`, { caps: { daily_chat_completions: limit + 1 } });
    await until(async () => (await insist('eu', key, 'tokens=5')).status === 200, 'the raised cap to arrive', 3_000);
    expect((await insist('us', key, 'tokens=5')).status).toBe(429);
    await quiet();
    expect(await charged({ keyId })).toMatchObject({ count: limit + 1 });
  });

  async function leaving(region: RegionName, key: string): Promise<Answer> {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 60);
    return fetch(`${world.url(region)}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ...SHAPE, messages: [{ role: 'user', content: 'Bye. [[sim tokens=8 delay_ms=150]]' }] }),
      signal: controller.signal,
    }).then(
      async (response) => ({ status: response.status, error: ((await response.json()) as { error: Answer['error'] }).error }),
      () => ({ status: 0, error: { code: 'left' } }),
    );
  }
});

describe('after all of them', { timeout: TIMEOUT_MS }, () => {
  it('nodes that stop leave nothing held of any budget', async () => {
    // One after the other: the second one hears of what the first one leaves.
    for (const region of REGIONS) await world.node(region).stop();
    const { rows } = await sql<{ budgets: string; settled: string; held: string; leased: string }>`
      SELECT count(*)::text AS budgets, sum(settled)::text AS settled, sum(held)::text AS held,
             (SELECT sum(granted - returned - used - written_off)::text FROM lease) AS leased
      FROM budget`.execute(world.database.db);
    expect(rows).toMatchObject([{ held: '0', leased: '0' }]);
    expect(Number(rows[0]?.settled)).toBeGreaterThan(0);
    const { rows: lost } = await sql<{ lost: string }>`SELECT coalesce(sum(written_off), 0)::text AS lost FROM lease`.execute(
      world.database.db,
    );
    expect(lost).toEqual([{ lost: '0' }]);
    expect(await world.operator.get('/admin/v1/audit')).toMatchObject({ ok: true });
  });
});

function usd(nano: bigint): string {
  const text = `${nano / 1_000_000_000n}.${(nano % 1_000_000_000n).toString().padStart(9, '0')}`;
  return text.replace(/0{1,7}$/, '');
}
