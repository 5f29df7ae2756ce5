import { expect, it } from 'vitest';
import { type Intent, isCharged, OUTCOMES, recoveredFinal } from './usage-record.ts';

const intent: Intent = {
  requestId: 'req_1',
  admittedAtMs: 1_700_000_000_000,
  accountId: 'acc_1',
  memberId: 'mem_1',
  keyId: 'key_1',
  operation: 'chat',
  clientDialect: 'openai-chat',
  askedModel: 'gpt-5.4',
  priceVersions: [
    { modelId: 'gpt-5.4', version: 3 },
    { modelId: 'claude-opus-4-7', version: 1 },
  ],
  tierId: 'starter',
  markupBasisPoints: 4_000,
  maxCostNano: 5_000n,
  leases: [{ leaseId: 'l1', amount: 5_000n }],
};

it('charges for what was answered, and for what came before a client left or a limit of ours ended it, for nothing else', () => {
  expect(OUTCOMES.filter((outcome) => isCharged({ outcome }))).toEqual(['success', 'client_gone', 'cut']);
});

it('charges for an empty answer too where the account was above its ceiling, and for nothing else that is free', () => {
  expect(OUTCOMES.filter((outcome) => isCharged({ outcome, emptyIsCharged: true }))).toEqual(['success', 'client_gone', 'empty', 'cut']);
});

it('recovers an intent without its end as a final that charges nothing and returns its leases whole', () => {
  const final = recoveredFinal(intent);
  expect(final).toMatchObject({ outcome: 'recovered', chargeNano: 0n, varianceNano: 0n, usage: {}, attempts: [], askedPriceVersion: 3 });
  expect(final.leases).toEqual([{ leaseId: 'l1', amount: 0n }]);
  expect(isCharged(final)).toBe(false);
});

it('keeps who asked and the terms that were pinned', () => {
  const { priceVersions: _, leases: __, ...kept } = intent;
  expect(recoveredFinal(intent)).toMatchObject(kept);
});

it('recovers an intent that had no price', () => {
  expect(recoveredFinal({ ...intent, priceVersions: [], leases: [] })).toMatchObject({ askedPriceVersion: 0, leases: [] });
});
