/** How a request ended + its terms → the final record: usage, charge, variance, and what each attempt cost us. */
import { billedUsage } from '@meridian/domain/billed-usage';
import type { BudgetUnit } from '@meridian/domain/budget';
import type { DialectName } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { ErrorCode } from '@meridian/domain/error-code';
import { chargedUsage, estimatedInputTokens } from '@meridian/domain/estimated-usage';
import type { Nano } from '@meridian/domain/money';
import type { ListPrice, RateCard, ServiceTier } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import type { Endpoint } from '@meridian/domain/snapshot';
import type { Exactness, Usage } from '@meridian/domain/usage';
import { type Attempt, type Final, type Intent, isCharged, type Outcome } from '@meridian/domain/usage-record';

/** What was read of one upstream's answer; satisfied by a dialect's answer facts. */
export interface Measured {
  readonly usage: Usage | undefined;
  readonly usageIsInterim: boolean;
  readonly serviceTier: ServiceTier | undefined;
  readonly countedOutputTokens: number;
  /** A part of the output; undefined where it was not told. */
  readonly reasoningTokens?: number | undefined;
}

/** One call to a provider, whether it answered or not; satisfied by routing's trace. */
export interface CallTrace {
  readonly candidate: { readonly endpoint: Endpoint; readonly model: { readonly id: string }; readonly listPrice: ListPrice };
  readonly startedMs: number;
  readonly endedMs: number;
  readonly status: number;
  readonly errorCode: ErrorCode | undefined;
  readonly upstreamRequestId: string | undefined;
  readonly facts: Measured | undefined;
}

/** The end of a request, before money is put on it. */
export interface Ending {
  readonly outcome: Exclude<Outcome, 'recovered'>;
  /** As the account stood at admission. */
  readonly emptyIsCharged: boolean;
  /** The call that answered, or that was answering when the client left. */
  readonly served: CallTrace | undefined;
  readonly calls: readonly CallTrace[];
  readonly stream: boolean;
  readonly status: number;
  readonly error: GatewayError | undefined;
  readonly firstByteMs: number;
  readonly durationMs: number;
}

/** What was set aside in one lease; satisfied by admission's reservation. */
export interface SetAside {
  readonly leaseId: string;
  readonly unit: BudgetUnit;
  readonly amount: number;
}

/** The most that an amount in a record can be: an upstream's count that makes no sense must not keep the record from being written. */
const MAX_RECORD_NANO = 2n ** 63n - 1n;

/**
 * The usage to bill: the provider's own, or a count of ours, flagged `estimated`, when its usage never came, or its output
 * was reported before it was whole.
 */
function meteredUsage(measured: Measured | undefined, inputTokensBound: number): { usage: Usage; exactness: Exactness } {
  if (measured === undefined) return { usage: {}, exactness: 'exact' };
  const { usage, usageIsInterim, countedOutputTokens } = measured;
  if (usage !== undefined && !usageIsInterim) return { usage, exactness: 'exact' };
  return { usage: chargedUsage(usage, estimatedInputTokens(inputTokensBound), countedOutputTokens), exactness: 'estimated' };
}

/** A measured usage as the cards bill it. A call of which nothing was measured used nothing. */
function billed(usage: Usage, measured: Measured | undefined, cards: readonly RateCard[]): Usage {
  return measured === undefined ? usage : billedUsage(usage, measured.reasoningTokens, cards);
}

interface Rated {
  readonly usage: Usage;
  readonly amountNano: Nano;
  /** What the answer showed that has no list price: charged to nobody, at what it costs us. */
  readonly unpricedCostNano: Nano;
}

function rateAnswer(served: CallTrace, metered: Usage, serviceTier: ServiceTier, markupBasisPoints: number): Rated {
  const { listPrice, endpoint } = served.candidate;
  const usage = billed(metered, served.facts, listPrice.cards);
  const { amountNano, unpriced } = rate(usage, listPrice.cards, { serviceTier, markupBasisPoints });
  if (unpriced.length === 0) return { usage, amountNano, unpricedCostNano: 0n };
  const ours: Usage = Object.fromEntries(unpriced.map((meter) => [meter, usage[meter] ?? 0]));
  const { amountNano: unpricedCostNano } = rate(ours, endpoint.cost.cards, { serviceTier, markupBasisPoints: 0 });
  return { usage, amountNano, unpricedCostNano };
}

/**
 * Settles a request. The charge is never above the reservation: the excess is variance, ours, and so is what the answer
 * showed without a list price. Leases are named in the order
 * in which they were reserved: one of money with the charge, one of a count with all of its amount or nothing.
 */
export function settle(intent: Intent, reserved: readonly SetAside[], inputTokensBound: number, ending: Ending): Final {
  const { served } = ending;
  const charged = isCharged(ending);
  const metered = meteredUsage(served?.facts, inputTokensBound);
  // A tier that the upstream did not confirm is not charged for.
  const serviceTier = served?.facts?.serviceTier ?? 'standard';
  const price = served?.candidate.listPrice;
  const rated: Rated =
    served !== undefined && charged
      ? rateAnswer(served, metered.usage, serviceTier, intent.markupBasisPoints)
      : { usage: metered.usage, amountNano: 0n, unpricedCostNano: 0n };
  const chargeNano = rated.amountNano < intent.maxCostNano ? rated.amountNano : intent.maxCostNano;
  return {
    requestId: intent.requestId,
    admittedAtMs: intent.admittedAtMs,
    accountId: intent.accountId,
    memberId: intent.memberId,
    keyId: intent.keyId,
    operation: intent.operation,
    clientDialect: intent.clientDialect satisfies DialectName,
    askedModel: intent.askedModel,
    tierId: intent.tierId,
    markupBasisPoints: intent.markupBasisPoints,
    maxCostNano: intent.maxCostNano,
    leases: reserved.map(({ leaseId, unit, amount }) => ({
      leaseId,
      amount: unit === 'nano_usd' ? chargeNano : charged ? BigInt(amount) : 0n,
    })),
    outcome: ending.outcome,
    ...(ending.emptyIsCharged ? { emptyIsCharged: true } : {}),
    exactness: metered.exactness,
    answeringModelId: served?.candidate.model.id,
    askedPriceVersion: intent.priceVersions[0]?.version ?? 0,
    answeringPriceVersion: price?.version ?? 0,
    serviceTier,
    usage: rated.usage,
    chargeNano,
    varianceNano: recordable(rated.amountNano - chargeNano + rated.unpricedCostNano),
    attempts: ending.calls.map((call) => settleCall(call, inputTokensBound)),
    stream: ending.stream,
    status: ending.status,
    errorCode: ending.error?.code,
    firstByteMs: ending.firstByteMs,
    durationMs: ending.durationMs,
  };
}

function settleCall(call: CallTrace, inputTokensBound: number): Attempt {
  const { endpoint, model } = call.candidate;
  const { usage } = meteredUsage(call.facts, inputTokensBound);
  const { cards } = endpoint.cost;
  const { amountNano } = rate(billed(usage, call.facts, cards), cards, {
    serviceTier: call.facts?.serviceTier ?? 'standard',
    markupBasisPoints: 0,
  });
  return {
    endpointId: endpoint.id,
    providerId: endpoint.providerId,
    modelId: model.id,
    status: call.status,
    errorCode: call.errorCode,
    costNano: recordable(amountNano),
    costVersion: endpoint.cost.version,
    durationMs: Math.max(0, Math.round(call.endedMs - call.startedMs)),
    upstreamRequestId: call.upstreamRequestId,
  };
}

function recordable(amountNano: Nano): Nano {
  return amountNano < MAX_RECORD_NANO ? amountNano : MAX_RECORD_NANO;
}
