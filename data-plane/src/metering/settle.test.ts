import { GatewayError } from '@meridian/domain/error';
import type { RateCard } from '@meridian/domain/price';
import type { Endpoint } from '@meridian/domain/snapshot';
import type { Final, Intent } from '@meridian/domain/usage-record';
import { describe, expect, it } from 'vitest';
import { type CallTrace, type Ending, type Measured, type SetAside, settle as settleWith } from './settle.ts';

const LIST = {
  modelId: 'm1',
  version: 3,
  effectiveFromMs: 0,
  cards: [
    { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } },
    { serviceTier: 'priority', aboveInputTokens: 0, prices: { input: 2_000_000_000n, output: 8_000_000_000n } },
  ],
} as const;

const ENDPOINT: Endpoint = {
  id: 'e1',
  modelId: 'm1',
  providerId: 'p1',
  credentialId: 'c1',
  upstreamModel: 'm1',
  dialect: 'openai-chat',
  operations: ['chat'],
  regions: [],
  priority: 0,
  enabled: true,
  cost: {
    endpointId: 'e1',
    version: 2,
    effectiveFromMs: 0,
    cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 500_000_000n, output: 2_000_000_000n } }],
  },
};

const INTENT: Intent = {
  requestId: 'req_1',
  admittedAtMs: 1_000,
  accountId: 'acc_1',
  memberId: 'mem_1',
  keyId: 'key_1',
  operation: 'chat',
  clientDialect: 'openai-chat',
  askedModel: 'm-one',
  priceVersions: [{ modelId: 'm1', version: 3 }],
  tierId: 'starter',
  markupBasisPoints: 4_000,
  maxCostNano: 1_000_000_000n,
  leases: [{ leaseId: 'l1', amount: 1_000_000_000n }],
};

const RESERVED: readonly SetAside[] = [
  { leaseId: 'l1', unit: 'nano_usd', amount: 1_000_000_000 },
  { leaseId: 'l2', unit: 'chat_completions', amount: 1 },
  { leaseId: 'l3', unit: 'images', amount: 4 },
];

const settle = (intent: Intent, inputTokensBound: number, end: Ending) => settleWith(intent, RESERVED, inputTokensBound, end);

function call(facts: Partial<Measured> | undefined, errorCode: CallTrace['errorCode'] = undefined): CallTrace {
  return {
    candidate: { endpoint: ENDPOINT, model: { id: 'm1' }, listPrice: LIST },
    startedMs: 0,
    endedMs: 40,
    status: 200,
    errorCode,
    upstreamRequestId: 'up-1',
    facts:
      facts === undefined
        ? undefined
        : { usage: undefined, usageIsInterim: false, serviceTier: undefined, countedOutputTokens: 0, ...facts },
  };
}

function ending(outcome: Ending['outcome'], served: CallTrace | undefined, calls = served === undefined ? [] : [served]): Ending {
  return {
    ...{ outcome, emptyIsCharged: false, served, calls, stream: false, status: 200, error: undefined },
    ...{ firstByteMs: 10, durationMs: 40 },
  };
}

const USED = { usage: { input: 1_000, output: 100 } };

describe('settling a request', () => {
  it('charges the usage at the list price with the markup, and keeps what the call cost us', () => {
    const final = settle(INTENT, 4_000, ending('success', call(USED)));
    expect(final.chargeNano).toBe(1_960_000n);
    expect(final.attempts[0]?.costNano).toBe(700_000n);
    expect(final).toMatchObject({
      exactness: 'exact',
      askedPriceVersion: 3,
      answeringPriceVersion: 3,
      varianceNano: 0n,
      answeringModelId: 'm1',
    });
    expect(final.leases).toEqual([
      { leaseId: 'l1', amount: 1_960_000n },
      { leaseId: 'l2', amount: 1n },
      { leaseId: 'l3', amount: 4n },
    ]);
  });

  it('charges the tier that the upstream answered with, and standard when it does not say', () => {
    expect(settle(INTENT, 0, ending('success', call({ ...USED, serviceTier: 'priority' }))).chargeNano).toBe(3_920_000n);
    expect(settle(INTENT, 0, ending('success', call(USED))).serviceTier).toBe('standard');
  });

  describe('with prices beside those of tokens', () => {
    const priced = (list: RateCard['prices'], cost: RateCard['prices'], facts: Partial<Measured>): Final => {
      const card = (prices: RateCard['prices']): RateCard => ({ serviceTier: 'standard', aboveInputTokens: 0, prices });
      const made = call(facts);
      const { listPrice, endpoint } = made.candidate;
      const candidate = {
        ...made.candidate,
        listPrice: { ...listPrice, cards: [card(list)] },
        endpoint: { ...endpoint, cost: { ...endpoint.cost, cards: [card(cost)] } },
      };
      return settle(INTENT, 0, ending('success', { ...made, candidate }));
    };

    it('leaves to us what the answer shows without a list price: nobody is charged, and what it costs us is variance', () => {
      const usage = { input: 1_000, 'per_tool_call:web_search': 3 };
      const final = priced({ input: 1_000_000_000n }, { input: 500_000_000n, per_tool_call: 10_000_000_000n }, { usage });
      expect(final).toMatchObject({ usage, chargeNano: 1_400_000n, varianceNano: 30_000n });
      expect(final.attempts[0]?.costNano).toBe(530_000n);
    });

    it('adds such a cost to what is above the reservation', () => {
      const usage = { input: 1_000_000, audio_out: 10 };
      const final = priced({ input: 1_000_000_000n }, { audio_out: 1_000_000_000n }, { usage });
      expect(final).toMatchObject({ chargeNano: 1_000_000_000n, varianceNano: 400_000_000n + 10_000n });
    });

    it('bills reasoning apart from the output where list or cost price it apart, each by itself', () => {
      const facts = { usage: { output: 1_000 }, reasoningTokens: 800 };
      const final = priced({ output: 4_000_000_000n, reasoning: 1_000_000_000n }, { output: 2_000_000_000n }, facts);
      expect(final).toMatchObject({ usage: { output: 200, reasoning: 800 }, chargeNano: 2_240_000n, varianceNano: 0n });
      expect(final.attempts[0]?.costNano).toBe(2_000_000n);
      const other = priced({ output: 4_000_000_000n }, { output: 2_000_000_000n, reasoning: 1_000_000_000n }, facts);
      expect(other).toMatchObject({ usage: { output: 1_000 }, chargeNano: 5_600_000n });
      expect(other.attempts[0]?.costNano).toBe(1_200_000n);
    });

    it('bills the request itself where it has a price', () => {
      const final = priced({ per_request: 5_000_000_000n }, { per_request: 4_000_000_000n }, { usage: { input: 0 } });
      expect(final).toMatchObject({ usage: { per_request: 1 }, chargeNano: 7_000n });
      expect(final.attempts[0]?.costNano).toBe(4_000n);
    });

    it('is written down however much it comes to', () => {
      const final = priced({ input: 2n ** 60n }, { input: 2n ** 60n }, { usage: { input: Number.MAX_SAFE_INTEGER } });
      expect(final).toMatchObject({ chargeNano: INTENT.maxCostNano, varianceNano: 2n ** 63n - 1n });
      expect(final.attempts[0]?.costNano).toBe(2n ** 63n - 1n);
    });

    it('costs us nothing for a call of which nothing was measured', () => {
      const failed = call(undefined, 'upstream_error');
      const cost = {
        ...ENDPOINT.cost,
        cards: [{ serviceTier: 'standard' as const, aboveInputTokens: 0, prices: { per_request: 9_000_000n } }],
      };
      const candidate = { ...failed.candidate, endpoint: { ...ENDPOINT, cost } };
      expect(settle(INTENT, 0, ending('failed', undefined, [{ ...failed, candidate }])).attempts[0]?.costNano).toBe(0n);
    });
  });

  it('never charges more than was reserved: the rest is variance', () => {
    const final = settle({ ...INTENT, maxCostNano: 1_000_000n }, 0, ending('success', call(USED)));
    expect(final.chargeNano).toBe(1_000_000n);
    expect(final.varianceNano).toBe(960_000n);
    expect(final.leases[0]).toEqual({ leaseId: 'l1', amount: 1_000_000n });
  });

  it('charges an empty answer of an account above its ceiling of uncharged cost, in counts as well, and says so', () => {
    const final = settle(INTENT, 4_000, { ...ending('empty', call({ usage: { input: 1_000, output: 0 } })), emptyIsCharged: true });
    expect(final).toMatchObject({ outcome: 'empty', emptyIsCharged: true, exactness: 'exact', chargeNano: 1_400_000n });
    expect(final.leases.map(({ amount }) => amount)).toEqual([1_400_000n, 1n, 4n]);
    const failed = settle(INTENT, 4_000, { ...ending('failed', undefined, [call(USED)]), emptyIsCharged: true });
    expect([failed.chargeNano, ...failed.leases.map(({ amount }) => amount)]).toEqual([0n, 0n, 0n, 0n]);
  });

  it.each(['failed', 'empty'] as const)('charges nothing for a request that ended %s, and still knows its cost', (outcome) => {
    const served = call(USED, outcome === 'failed' ? 'upstream_error' : undefined);
    const final = settle(INTENT, 0, {
      ...ending(outcome, outcome === 'failed' ? undefined : served, [served]),
      error: new GatewayError('upstream_error'),
    });
    expect(final.chargeNano).toBe(0n);
    expect(final.varianceNano).toBe(0n);
    expect(final.leases.map((lease) => lease.amount)).toEqual([0n, 0n, 0n]);
    expect(final.attempts[0]?.costNano).toBe(700_000n);
  });

  it('counts locally, and says so, when the usage never came', () => {
    const final = settle(INTENT, 400, ending('client_gone', call({ countedOutputTokens: 50 })));
    expect(final.exactness).toBe('estimated');
    expect(final.usage).toEqual({ input: 100, output: 50 });
    expect(final.chargeNano).toBe(420_000n);
  });

  it('takes interim usage for the least there was, and says that it counted', () => {
    const interim = (output: number, countedOutputTokens: number) =>
      settle(INTENT, 400, ending('client_gone', call({ usage: { input: 30, output }, usageIsInterim: true, countedOutputTokens })));
    expect(interim(1, 806)).toMatchObject({ exactness: 'estimated', usage: { input: 30, output: 806 }, chargeNano: 4_555_600n });
    expect(interim(900, 806)).toMatchObject({ exactness: 'estimated', usage: { input: 30, output: 900 } });
  });

  it('takes an explicit usage of zero as exact: zero is not missing', () => {
    const final = settle(INTENT, 400, ending('success', call({ usage: { input: 0, output: 0 } })));
    expect(final).toMatchObject({ exactness: 'exact', chargeNano: 0n });
  });
});
