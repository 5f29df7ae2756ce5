/**
 * What a node writes down about a request: an intent before the upstream is called, a final when it is settled.
 * Neither ever holds a prompt, an answer, or a key.
 */
import type { DialectName, Operation } from './dialect.ts';
import type { ErrorCode } from './error-code.ts';
import type { Nano } from './money.ts';
import type { ServiceTier } from './price.ts';
import type { Exactness, Usage } from './usage.ts';

/** An amount taken from one lease, in the unit of its budget: reserved in an intent, charged in a final. */
export interface LeaseAmount {
  readonly leaseId: string;
  readonly amount: bigint;
}

/** Who asks, and the terms pinned at admission. */
export interface Intent {
  readonly requestId: string;
  /** When the request was admitted (ms since 1970); with the request id it is unique among finals. */
  readonly admittedAtMs: number;
  readonly accountId: string;
  readonly memberId: string;
  readonly keyId: string;
  readonly operation: Operation;
  readonly clientDialect: DialectName;
  /** The name that was asked for, as written (≤ 256 bytes). */
  readonly askedModel: string;
  /** List price version of each planned model. */
  readonly priceVersions: readonly { readonly modelId: string; readonly version: number }[];
  readonly tierId: string;
  readonly markupBasisPoints: number;
  readonly maxCostNano: Nano;
  readonly leases: readonly LeaseAmount[];
}

/**
 * How a request ended.
 * `success`: answered in full · `client_gone`: the client left and pays for what was generated · `empty`: an empty text answer, free
 * unless the account is above its ceiling of uncharged cost · `cut`: a limit of ours ended the stream, which is paid for so far ·
 * `failed`: an upstream or internal error, free · `recovered`: the node died before the final was written, free.
 */
export type Outcome = 'success' | 'client_gone' | 'empty' | 'cut' | 'failed' | 'recovered';

export const OUTCOMES: readonly Outcome[] = ['success', 'client_gone', 'empty', 'cut', 'failed', 'recovered'];

/** Whether the written rule charges for a request that ended so. */
export function isCharged({ outcome, emptyIsCharged }: Pick<Final, 'outcome' | 'emptyIsCharged'>): boolean {
  return outcome === 'success' || outcome === 'client_gone' || outcome === 'cut' || (outcome === 'empty' && emptyIsCharged === true);
}

/** One call to a provider, whether it answered or not, with what it cost us. */
export interface Attempt {
  readonly endpointId: string;
  readonly providerId: string;
  readonly modelId: string;
  /** HTTP status of the upstream; 0 when none came. */
  readonly status: number;
  /** Why the attempt failed; absent when it answered. */
  readonly errorCode: ErrorCode | undefined;
  readonly costNano: Nano;
  readonly costVersion: number;
  readonly durationMs: number;
  /** The provider's own request id (≤ 128 bytes), for its support desk. */
  readonly upstreamRequestId: string | undefined;
}

export interface Final extends Omit<Intent, 'priceVersions'> {
  readonly outcome: Outcome;
  /** At admission the account was above its ceiling of uncharged cost, so that an empty answer is charged as any other. */
  readonly emptyIsCharged?: boolean;
  readonly exactness: Exactness;
  /** The model that answered; undefined when none did. */
  readonly answeringModelId: string | undefined;
  /** List price versions of the asked and of the answering model; 0 where there is none. */
  readonly askedPriceVersion: number;
  readonly answeringPriceVersion: number;
  /** The tier the upstream answered with. */
  readonly serviceTier: ServiceTier;
  readonly usage: Usage;
  readonly chargeNano: Nano;
  /** What the usage would have cost above `maxCostNano`, and what it costs us where it has no list price: ours, alarmed. */
  readonly varianceNano: Nano;
  readonly attempts: readonly Attempt[];
  readonly stream: boolean;
  /** HTTP status the client saw. */
  readonly status: number;
  readonly errorCode: ErrorCode | undefined;
  /** From arrival to the first byte and to the end. */
  readonly firstByteMs: number;
  readonly durationMs: number;
}

/** The final that recovery writes for an intent without one: nothing is charged for a request whose end nobody saw. */
export function recoveredFinal(intent: Intent): Final {
  return {
    requestId: intent.requestId,
    admittedAtMs: intent.admittedAtMs,
    accountId: intent.accountId,
    memberId: intent.memberId,
    keyId: intent.keyId,
    operation: intent.operation,
    clientDialect: intent.clientDialect,
    askedModel: intent.askedModel,
    tierId: intent.tierId,
    markupBasisPoints: intent.markupBasisPoints,
    maxCostNano: intent.maxCostNano,
    leases: intent.leases.map((lease) => ({ leaseId: lease.leaseId, amount: 0n })),
    outcome: 'recovered',
    exactness: 'exact',
    answeringModelId: undefined,
    askedPriceVersion: intent.priceVersions[0]?.version ?? 0,
    answeringPriceVersion: 0,
    serviceTier: 'standard',
    usage: {},
    chargeNano: 0n,
    varianceNano: 0n,
    attempts: [],
    stream: false,
    status: 0,
    errorCode: undefined,
    firstByteMs: 0,
    durationMs: 0,
  };
}
