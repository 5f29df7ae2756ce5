/** The rules of ingest: which finals can be taken, what they should have been charged, and how they add up. */
import { type Nano, usdToNano } from '@meridian/domain/money';
import { type ListPrice, SERVICE_TIERS } from '@meridian/domain/price';
import { rate, withoutMarkup } from '@meridian/domain/rating';
import { assertUsage, COMPONENTS, type Component, type Meter, metersOf, unitsOf } from '@meridian/domain/usage';
import { type Final, isCharged, OUTCOMES } from '@meridian/domain/usage-record';

const MAX_ID_CHARS = 256;
const MAX_ATTEMPTS = 100;
const MAX_LEASES = 100;
const MAX_INT4 = 2 ** 31 - 1;
/** Far above any real request, and low enough that sums over hours and batches stay within 64 bits. */
const MAX_REQUEST_NANO = usdToNano('100000');
const MAX_UNITS = 1e12;
const MAX_METERS = 64;
const EARLIEST_MS = Date.UTC(2020, 0, 1);
const LATEST_MS = Date.UTC(2100, 0, 1);
const HOUR_MS = 3_600_000;

/** Why a final cannot be ingested, or undefined when it can. What passes can be stored, and its sums cannot overflow. */
export function faultOf(final: Final): string | undefined {
  for (const [name, text] of textsOf(final)) {
    if (text.length > MAX_ID_CHARS) return `${name} is longer than ${MAX_ID_CHARS} characters`;
    if (text.includes('\0') || !text.isWellFormed()) return `${name} is not a text that can be stored`;
  }
  if (!SERVICE_TIERS.includes(final.serviceTier)) return 'an unknown service tier';
  if (!OUTCOMES.includes(final.outcome)) return 'an unknown outcome';
  if (final.requestId === '' || final.accountId === '') return 'the request or its account is not named';
  if (!(final.admittedAtMs >= EARLIEST_MS && final.admittedAtMs < LATEST_MS)) return 'admitted_at is not a time of this century';
  if (final.attempts.length > MAX_ATTEMPTS) return `more than ${MAX_ATTEMPTS} attempts`;
  if (final.leases.length > MAX_LEASES) return `more than ${MAX_LEASES} leases`;
  for (const [name, value] of numbersOf(final)) {
    if (!(Number.isInteger(value) && value >= 0 && value <= MAX_INT4)) return `${name} is not an integer from 0 to ${MAX_INT4}`;
  }
  for (const [name, amount] of amountsOf(final)) {
    if (amount < 0n || amount > MAX_REQUEST_NANO) return `${name} is negative or above ${MAX_REQUEST_NANO}`;
  }
  try {
    assertUsage(final.usage);
  } catch (error) {
    return String(error);
  }
  const meters = metersOf(final.usage);
  if (meters.length > MAX_METERS) return `more than ${MAX_METERS} meters`;
  if (meters.some((meter) => (final.usage[meter] ?? 0) > MAX_UNITS)) return `more than ${MAX_UNITS} units`;
  if (final.chargeNano > final.maxCostNano) return 'the charge is above max_cost';
  if (final.chargeNano > 0n && !isCharged(final)) return `a charge for the outcome ${final.outcome}`;
  if (!isCharged(final) && final.leases.some((lease) => lease.amount > 0n)) return `an amount for the outcome ${final.outcome}`;
  return undefined;
}

function* textsOf(final: Final): Generator<[string, string]> {
  yield ['request_id', final.requestId];
  yield ['account_id', final.accountId];
  yield ['member_id', final.memberId];
  yield ['key_id', final.keyId];
  yield ['operation', final.operation];
  yield ['client_dialect', final.clientDialect];
  yield ['asked_model', final.askedModel];
  yield ['tier_id', final.tierId];
  yield ['answering_model_id', final.answeringModelId ?? ''];
  yield ['error_code', final.errorCode ?? ''];
  for (const lease of final.leases) yield ['lease_id', lease.leaseId];
  for (const attempt of final.attempts) {
    yield ['endpoint_id', attempt.endpointId];
    yield ['provider_id', attempt.providerId];
    yield ['model_id', attempt.modelId];
    yield ['attempt.error_code', attempt.errorCode ?? ''];
    yield ['upstream_request_id', attempt.upstreamRequestId ?? ''];
  }
}

function* numbersOf(final: Final): Generator<[string, number]> {
  yield ['markup_basis_points', final.markupBasisPoints];
  yield ['asked_price_version', final.askedPriceVersion];
  yield ['answering_price_version', final.answeringPriceVersion];
  yield ['status', final.status];
  yield ['first_byte_ms', final.firstByteMs];
  yield ['duration_ms', final.durationMs];
  for (const attempt of final.attempts) {
    yield ['attempt.status', attempt.status];
    yield ['cost_version', attempt.costVersion];
    yield ['attempt.duration_ms', attempt.durationMs];
  }
}

function* amountsOf(final: Final): Generator<[string, bigint]> {
  yield ['max_cost_nano', final.maxCostNano];
  yield ['charge_nano', final.chargeNano];
  yield ['variance_nano', final.varianceNano];
  for (const lease of final.leases) yield ['lease amount', lease.amount];
  for (const attempt of final.attempts) yield ['cost_nano', attempt.costNano];
}

export interface Rating {
  /** What the charge should be; undefined when the price it names is not known here. */
  readonly ratedNano: Nano | undefined;
  /** The same without markup: what of the list price is charged, and what the spend of a tier counts. */
  readonly listNano: Nano;
  /** What was used and has no price, and is charged to nobody. */
  readonly unpriced: readonly Meter[];
}

/** Rates a final anew from the list price version it names (undefined: not known here). */
export function rateFinal(final: Final, price: ListPrice | undefined): Rating {
  if (!isCharged(final)) return { ratedNano: 0n, listNano: 0n, unpriced: [] };
  if (price === undefined) {
    // A client that left before anything was sent to a model is charged nothing, and names no price.
    return { ratedNano: final.answeringModelId === undefined ? 0n : undefined, listNano: 0n, unpriced: [] };
  }
  const at = (markupBasisPoints: number) => rate(final.usage, price.cards, { serviceTier: final.serviceTier, markupBasisPoints });
  const { amountNano, unpriced } = at(final.markupBasisPoints);
  const isCut = amountNano > final.maxCostNano;
  return isCut
    ? { ratedNano: final.maxCostNano, listNano: withoutMarkup(final.maxCostNano, final.markupBasisPoints), unpriced }
    : { ratedNano: amountNano, listNano: at(0).amountNano, unpriced };
}

/** A final that was taken, with our own rating of it. */
export interface RatedFinal {
  readonly seq: number;
  readonly final: Final;
  readonly rating: Rating;
}

/** The first final of its request, with what became of it. */
export interface CountedFinal extends RatedFinal {
  /** Why it is charged to nobody: its leases cannot pay for it. */
  readonly refusal: string | undefined;
}

/** What the customer pays. */
export function chargeOf({ final, refusal }: CountedFinal): Nano {
  return refusal === undefined ? final.chargeNano : 0n;
}

/** What nobody pays, its leases being the reason. */
export function writtenOffOf({ final, refusal }: CountedFinal): Nano {
  return refusal === undefined ? 0n : final.chargeNano;
}

/** The charge without the markup; 0 where there is none. */
export function listOf({ rating, refusal }: CountedFinal): Nano {
  return refusal === undefined ? rating.listNano : 0n;
}

export function costOf(final: Final): Nano {
  return final.attempts.reduce((sum, attempt) => sum + attempt.costNano, 0n);
}

/** What the final cost us that its charge does not pay for: every attempt when nothing is charged, else the attempts that failed. */
export function unchargedCostOf(counted: CountedFinal): Nano {
  const { final } = counted;
  const unpaid = chargeOf(counted) > 0n ? final.attempts.filter((attempt) => attempt.errorCode !== undefined) : final.attempts;
  return unpaid.reduce((sum, attempt) => sum + attempt.costNano, 0n);
}

export interface HourlySum {
  readonly accountId: string;
  readonly hourMs: number;
  readonly modelId: string;
  readonly keyId: string;
  readonly memberId: string;
  readonly priceVersion: number;
  readonly tierId: string;
  requests: number;
  chargedRequests: number;
  estimatedRequests: number;
  readonly units: Record<Component, number>;
  chargeNano: Nano;
  listNano: Nano;
  varianceNano: Nano;
  writtenOffNano: Nano;
  costNano: Nano;
}

export interface BatchSums {
  /** Charges by account, in the order of their ids; only those > 0. */
  readonly charges: readonly { readonly accountId: string; readonly chargeNano: Nano }[];
  /** In the order of the table's key. */
  readonly hourly: readonly HourlySum[];
  /** In the order of account and day; only those > 0. */
  readonly uncharged: readonly { readonly accountId: string; readonly dayMs: number; readonly costNano: Nano }[];
  readonly costNano: Nano;
  readonly varianceNano: Nano;
  readonly writtenOffNano: Nano;
}

/** Adds up the finals of one batch (of one region). */
export function sumBatch(finals: readonly CountedFinal[]): BatchSums {
  const charges = new Map<string, Nano>();
  const hourly = new Map<string, HourlySum>();
  const uncharged = new Map<string, { accountId: string; dayMs: number; costNano: Nano }>();
  let costNano = 0n;
  let varianceNano = 0n;
  let writtenOffNano = 0n;
  for (const counted of finals) {
    const { final } = counted;
    const cost = costOf(final);
    const charge = chargeOf(counted);
    const writtenOff = writtenOffOf(counted);
    costNano += cost;
    varianceNano += final.varianceNano;
    writtenOffNano += writtenOff;
    if (charge > 0n) charges.set(final.accountId, (charges.get(final.accountId) ?? 0n) + charge);
    const lost = unchargedCostOf(counted);
    if (lost > 0n) {
      const dayMs = final.admittedAtMs - (final.admittedAtMs % (24 * HOUR_MS));
      const key = JSON.stringify([final.accountId, dayMs]);
      const sum = uncharged.get(key) ?? { accountId: final.accountId, dayMs, costNano: 0n };
      sum.costNano += lost;
      uncharged.set(key, sum);
    }
    const sum = hourlySum(hourly, final);
    sum.requests += 1;
    if (isCharged(final) && counted.refusal === undefined) sum.chargedRequests += 1;
    if (final.exactness === 'estimated') sum.estimatedRequests += 1;
    for (const component of COMPONENTS) sum.units[component] += unitsOf(final.usage, component);
    sum.chargeNano += charge;
    sum.listNano += listOf(counted);
    sum.varianceNano += final.varianceNano;
    sum.writtenOffNano += writtenOff;
    sum.costNano += cost;
  }
  return {
    charges: inOrder(charges).map(([accountId, chargeNano]) => ({ accountId, chargeNano })),
    hourly: inOrder(hourly).map(([, sum]) => sum),
    uncharged: inOrder(uncharged).map(([, sum]) => sum),
    costNano,
    varianceNano,
    writtenOffNano,
  };
}

function hourlySum(sums: Map<string, HourlySum>, final: Final): HourlySum {
  const hourMs = final.admittedAtMs - (final.admittedAtMs % HOUR_MS);
  const modelId = final.answeringModelId ?? '';
  const { accountId, keyId, memberId, tierId, answeringPriceVersion: priceVersion } = final;
  const key = JSON.stringify([accountId, hourMs, modelId, keyId, memberId, priceVersion, tierId]);
  let sum = sums.get(key);
  if (sum === undefined) {
    sum = {
      ...{ accountId, hourMs, modelId, keyId, memberId, priceVersion, tierId },
      ...{ requests: 0, chargedRequests: 0, estimatedRequests: 0, chargeNano: 0n, listNano: 0n },
      ...{ varianceNano: 0n, writtenOffNano: 0n, costNano: 0n },
      units: noUnits(),
    };
    sums.set(key, sum);
  }
  return sum;
}

function noUnits(): Record<Component, number> {
  // COMPONENTS names each component once.
  return Object.fromEntries(COMPONENTS.map((component) => [component, 0])) as Record<Component, number>;
}

/** One order for all batches, so that two of them never wait for each other's rows. */
function inOrder<T>(sums: ReadonlyMap<string, T>): [string, T][] {
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1));
}
