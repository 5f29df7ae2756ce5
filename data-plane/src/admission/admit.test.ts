import type { Cap } from '@meridian/domain/budget';
import { describe, expect, it } from 'vitest';
import { PEPPER, samplePicture } from '../control/testing.ts';
import { admit, type Verdict } from './admit.ts';
import { authenticate, type Principal } from './authenticate.ts';
import type { NamedWays } from './count-input.ts';
import type { Asked } from './estimate.ts';
import type { BudgetAmount, Grants } from './grants.ts';
import { TestBank, writtenAtOnce } from './testing.ts';

const SETTINGS = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } }],
} as const;
const WAYS: NamedWays = {
  listPrice: PRICE,
  candidates: [{ model: { id: 'm', contextTokens: 9_000, maxOutputTokens: 8_000 }, listPrice: PRICE }],
};
const ASKED: Asked = {
  operation: 'chat',
  maxOutputTokens: 100,
  choices: 1,
  serviceTier: 'standard',
  inputTokensBound: 232,
  readsBeyondBody: false,
  unbounded: undefined,
  takesOutputLimit: true,
  images: 0,
};
/** The last millisecond of a day, of a month, of a year. */
const MIDNIGHT = Date.UTC(2027, 0, 1);
const MAX_COST = 1_960_000;

const CAPS: readonly Cap[] = (
  [
    ['k-day', 'key', 'utc_day', 'nano_usd'],
    ['k-month', 'key', 'utc_month', 'nano_usd'],
    ['m-chats', 'member', 'utc_day', 'chat_completions'],
    ['m-images', 'member', 'utc_month', 'images'],
    ['a-day', 'account', 'utc_day', 'nano_usd'],
  ] as const
).map(([id, scope, window, unit]) => ({
  id,
  accountId: 'acc_1',
  scope,
  scopeId: { key: 'key_1', member: 'mem_1', account: 'acc_1' }[scope],
  window,
  unit,
  limit: 1_000_000_000,
}));

interface Setting {
  readonly principal: Principal;
  readonly keys: { capsOf(scopeId: string): readonly Cap[] };
}

function setting(caps: readonly Cap[]): Setting {
  const { picture, apiKey } = samplePicture();
  for (const cap of caps) picture.apply({ kind: 'cap', id: cap.id, version: 1, body: { kind: 'cap', value: cap } });
  return { principal: authenticate(picture, SETTINGS, apiKey, 0), keys: picture };
}

/** What is asked of the leases. */
function asked(request: Partial<Asked>, atMs: number, caps = CAPS): readonly BudgetAmount[] {
  const { principal, keys } = setting(caps);
  let seen: readonly BudgetAmount[] = [];
  const { desk } = new TestBank({ limitOf: () => 0, nowMs: () => atMs, write: writtenAtOnce() });
  const grants: Grants = {
    reserve: (amounts, nowMs, done) => {
      seen = amounts;
      return desk.reserve(amounts, nowMs, done);
    },
    settle: (reservation, charges, nowMs) => desk.settle(reservation, charges, nowMs),
    room: (budgets) => desk.room(budgets),
  };
  admit({ grants, keys, nowMs: () => atMs }, principal, { ...ASKED, ...request }, WAYS, () => {});
  return seen;
}

describe('admission', () => {
  it('asks each budget that applies for its unit, in the window of the node’s clock', () => {
    const of = (amounts: readonly BudgetAmount[]): unknown[] =>
      amounts.map(({ budget, scope, window, unit, amount }) => [budget.capId, budget.windowStartMs, scope, window, unit, amount]);
    expect(of(asked({}, MIDNIGHT - 1))).toEqual([
      ['k-day', Date.UTC(2026, 11, 31), 'key', 'utc_day', 'nano_usd', MAX_COST],
      ['k-month', Date.UTC(2026, 11, 1), 'key', 'utc_month', 'nano_usd', MAX_COST],
      ['m-chats', Date.UTC(2026, 11, 31), 'member', 'utc_day', 'chat_completions', 1],
      ['a-day', Date.UTC(2026, 11, 31), 'account', 'utc_day', 'nano_usd', MAX_COST],
      ['prepaid_acc_1', 0, 'account', 'prepaid', 'nano_usd', MAX_COST],
    ]);
    expect(asked({}, MIDNIGHT).map(({ budget }) => budget.windowStartMs)).toEqual([MIDNIGHT, MIDNIGHT, MIDNIGHT, MIDNIGHT, 0]);
  });

  it('counts no chat for embeddings, and the images that are asked for', () => {
    const amounts = asked({ operation: 'embeddings', images: 0 }, MIDNIGHT);
    expect(amounts.map(({ unit }) => unit)).not.toContain('chat_completions');
    expect(asked({ images: 3 }, MIDNIGHT).find(({ unit }) => unit === 'images')).toMatchObject({ amount: 3 });
  });

  it('needs nothing but the count where the request costs nothing', () => {
    const free = { ...PRICE, cards: [] };
    const { principal, keys } = setting(CAPS);
    const bank = new TestBank({ limitOf: () => 0, nowMs: () => MIDNIGHT, write: writtenAtOnce() });
    const ways = { listPrice: free, candidates: [{ model: { id: 'm', contextTokens: 1, maxOutputTokens: 1 }, listPrice: free }] };
    let verdict: Verdict | undefined;
    admit({ grants: bank.desk, keys: { capsOf: () => [] }, nowMs: () => MIDNIGHT }, principal, ASKED, ways, (given) => {
      verdict = given;
    });
    expect(verdict).toMatchObject({ kind: 'admitted', terms: { maxCostNano: 0n }, reservation: { leases: [] } });
    admit({ grants: bank.desk, keys, nowMs: () => MIDNIGHT }, principal, ASKED, ways, () => {});
    expect(bank.questions.map(({ budget }) => budget.capId)).toEqual(['m-chats']);
  });

  it('asks for an amount that no limit reaches where the cost is beyond all limits', () => {
    const amounts = asked({ maxOutputTokens: Number.MAX_SAFE_INTEGER, choices: 128 }, MIDNIGHT);
    expect(amounts[0]?.amount).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('answers at once where the leases suffice, later where they do not, and not at all once the wait is given up', async () => {
    const { principal, keys } = setting(CAPS);
    const bank = new TestBank({ limitOf: () => 100_000_000, nowMs: () => MIDNIGHT, write: writtenAtOnce() });
    const rooms = { grants: bank.desk, keys, nowMs: () => MIDNIGHT };
    const first = await new Promise<Verdict>((resolve) => {
      admit(rooms, principal, ASKED, WAYS, resolve);
    });
    expect(first).toMatchObject({ kind: 'admitted', terms: { maxCostNano: BigInt(MAX_COST) } });
    let atOnce: Verdict | undefined;
    admit(rooms, principal, ASKED, WAYS, (given) => {
      atOnce = given;
    });
    expect(atOnce).toMatchObject({ kind: 'admitted' });
    expect(bank.reservations).toBe(2);

    const told: Verdict[] = [];
    bank.withhold();
    const giveUp = admit(rooms, principal, { ...ASKED, maxOutputTokens: 10_000 }, WAYS, (given) => told.push(given));
    giveUp();
    bank.answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([]);
    expect(bank.reservations).toBe(2);
  });

  it('is refused with the terms it was refused on', async () => {
    const { principal, keys } = setting([]);
    const bank = new TestBank({ limitOf: () => MAX_COST - 1, nowMs: () => MIDNIGHT, write: writtenAtOnce() });
    const verdict = await new Promise<Verdict>((resolve) => {
      admit({ grants: bank.desk, keys, nowMs: () => MIDNIGHT }, principal, ASKED, WAYS, resolve);
    });
    expect(verdict).toMatchObject({
      kind: 'refused',
      terms: { maxOutputTokens: 100 },
      error: { code: 'insufficient_credits', details: { left_usd: '0.001959999', max_tokens: 99 } },
    });
  });

  it('throws before anything is set aside where the cost has no bound', () => {
    const { principal, keys } = setting([]);
    const bank = new TestBank({ limitOf: () => 1e12, nowMs: () => MIDNIGHT, write: writtenAtOnce() });
    const rooms = { grants: bank.desk, keys, nowMs: () => MIDNIGHT };
    const request = { ...ASKED, unbounded: 'plugins', maxOutputTokens: undefined };
    expect(() => admit(rooms, principal, request, WAYS, () => {})).toThrowError(expect.objectContaining({ status: 400, param: 'plugins' }));
    expect(bank.questions).toEqual([]);
  });
});
