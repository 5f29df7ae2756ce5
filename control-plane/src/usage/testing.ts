/** Finals as a node settles them, rated by the shared function, for tests of what becomes of them. */
import type { ListPrice } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import { type Final, isCharged } from '@meridian/domain/usage-record';

/** 2 USD a million tokens in, 10 USD out. */
export const TEST_PRICE: ListPrice = {
  modelId: 'gpt-test',
  version: 3,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 2_000_000_000n, output: 10_000_000_000n } }],
};

export const TEST_PRICES = {
  find: async (wanted: readonly { readonly modelId: string; readonly version: number }[]) =>
    wanted.some(({ modelId, version }) => modelId === TEST_PRICE.modelId && version === TEST_PRICE.version) ? [TEST_PRICE] : [],
};

export const ADMITTED_AT_MS = Date.UTC(2026, 4, 4, 12, 30);

/** A successful call of 100 tokens in and 50 out at a markup of 40 %: list 700,000, charge 980,000, cost 500,000 nano-USD. */
export function settledFinal(change: Partial<Final> & { readonly requestId: string }): Final {
  const usage = change.usage ?? { input: 100, output: 50 };
  const outcome = change.outcome ?? 'success';
  const charge = () => rate(usage, TEST_PRICE.cards, { serviceTier: 'standard', markupBasisPoints: 4000 }).amountNano;
  return {
    admittedAtMs: ADMITTED_AT_MS,
    accountId: 'acc_1',
    memberId: 'mem_1',
    keyId: 'key_1',
    operation: 'chat',
    clientDialect: 'openai-chat',
    askedModel: 'GPT-Test',
    tierId: 'starter',
    markupBasisPoints: 4000,
    maxCostNano: 10_000_000n,
    leases: [],
    outcome,
    exactness: 'exact',
    answeringModelId: TEST_PRICE.modelId,
    askedPriceVersion: TEST_PRICE.version,
    answeringPriceVersion: TEST_PRICE.version,
    serviceTier: 'standard',
    usage,
    chargeNano: change.chargeNano ?? (isCharged(outcome) ? charge() : 0n),
    varianceNano: 0n,
    attempts: [
      {
        endpointId: 'end_1',
        providerId: 'openai',
        modelId: TEST_PRICE.modelId,
        status: 200,
        errorCode: undefined,
        costNano: 500_000n,
        costVersion: 1,
        durationMs: 80,
        upstreamRequestId: 'up-1',
      },
    ],
    stream: false,
    status: 200,
    errorCode: undefined,
    firstByteMs: 70,
    durationMs: 90,
    ...change,
  };
}
