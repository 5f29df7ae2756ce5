/** What a node charges is what the control plane works out again from the record and the list price it names. */
import { faultOf, rateFinal } from '@meridian/control-plane/usage/usage';
import { type Ending, settle } from '@meridian/data-plane/metering/settle';
import { usdToNano } from '@meridian/domain/money';
import { type ListPrice, type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import type { Endpoint } from '@meridian/domain/snapshot';
import { COMPONENTS, type Meter, type Usage } from '@meridian/domain/usage';
import { type Intent, OUTCOMES } from '@meridian/domain/usage-record';
import { finalFromWire, finalToWire } from '@meridian/wire/codec/final';
import fc from 'fast-check';
import { expect, it } from 'vitest';

const METERS: readonly Meter[] = [...COMPONENTS, 'cached_input:audio', 'per_image:1024x1024:high', 'per_tool_call:web_search'];
const card: fc.Arbitrary<RateCard> = fc.record({
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  aboveInputTokens: fc.constantFrom(0, 1_000),
  prices: fc.dictionary(fc.constantFrom(...METERS), fc.bigInt({ min: 0n, max: 10n ** 11n })),
});
const cards = fc
  .array(card, { maxLength: 6 })
  .map((all) => [...new Map(all.map((one) => [`${one.serviceTier} ${one.aboveInputTokens}`, one])).values()]);
const usage: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...METERS), fc.nat(3_000));

const INTENT: Intent = {
  ...{ requestId: 'req_1', admittedAtMs: Date.UTC(2026, 4, 4), accountId: 'acc_1', memberId: 'mem_1', keyId: 'key_1', operation: 'chat' },
  ...{ clientDialect: 'openai-chat', askedModel: 'm', priceVersions: [{ modelId: 'm', version: 1 }], tierId: 'starter' },
  ...{ markupBasisPoints: 4_000, maxCostNano: 0n, leases: [] },
};
const ENDPOINT: Omit<Endpoint, 'cost'> = {
  ...{ id: 'e', modelId: 'm', providerId: 'p', credentialId: 'c', upstreamModel: 'm', dialect: 'openai-chat', operations: ['chat'] },
  ...{ regions: [], priority: 0, enabled: true },
};
/** Of a record that is ingested. */
const MAX_AMOUNT_NANO = usdToNano('100000');
/** All that a node ends requests with: what is recovered was never ended. */
const ENDING_OUTCOMES = OUTCOMES.filter((outcome): outcome is Ending['outcome'] => outcome !== 'recovered');

it('is the same amount on both planes, whatever was used, priced and reserved', () => {
  let charged = 0;
  let short = 0;
  let unpriced = 0;
  fc.assert(
    fc.property(
      fc.record({
        usage: fc.option(usage, { nil: undefined }),
        list: cards,
        cost: cards,
        tier: fc.constantFrom(undefined, ...SERVICE_TIERS),
      }),
      fc.option(fc.nat(3_000), { nil: undefined }),
      fc.bigInt({ min: 0n, max: 10n ** 9n }),
      fc.constantFrom(...ENDING_OUTCOMES),
      (one, reasoningTokens, maxCostNano, outcome) => {
        const listPrice: ListPrice = { modelId: 'm', version: 1, effectiveFromMs: 0, cards: one.list };
        const endpoint: Endpoint = { ...ENDPOINT, cost: { endpointId: 'e', version: 1, effectiveFromMs: 0, cards: one.cost } };
        const facts = { usage: one.usage, usageIsInterim: false, serviceTier: one.tier, countedOutputTokens: 7, reasoningTokens };
        const served = {
          candidate: { endpoint, model: { id: 'm' }, listPrice },
          ...{ startedMs: 0, endedMs: 1, status: 200, errorCode: undefined, upstreamRequestId: undefined, facts },
        };
        const ending: Ending = {
          ...{
            outcome,
            emptyIsCharged: false,
            served,
            calls: [served],
            stream: false,
            status: 200,
            error: undefined,
            firstByteMs: 1,
            durationMs: 1,
          },
        };
        const final = finalFromWire(finalToWire(settle({ ...INTENT, maxCostNano }, [], 100, ending)));
        // Steps a billion times apart, as they are drawn here, make prices of what has none that no record is taken with.
        fc.pre(final.varianceNano <= MAX_AMOUNT_NANO && final.attempts.every(({ costNano }) => costNano <= MAX_AMOUNT_NANO));
        expect(faultOf(final)).toBeUndefined();
        const rating = rateFinal(final, listPrice);
        expect(rating.ratedNano).toBe(final.chargeNano);
        // What a tier counts as spent is what is charged, whatever it was cut at: each of the two is rounded once.
        const apart = rating.listNano * 14_000n - final.chargeNano * 10_000n;
        expect(apart <= 12_000n && -apart <= 12_000n).toBe(true);
        if (final.chargeNano > 0n) charged++;
        if (final.chargeNano > 0n && final.chargeNano === maxCostNano) short++;
        if (rating.unpriced.length > 0) unpriced++;
      },
    ),
    { numRuns: 2_000 },
  );
  // The cases that can go wrong all came.
  for (const cases of [charged, short, unpriced]) expect(cases).toBeGreaterThan(50);
});
