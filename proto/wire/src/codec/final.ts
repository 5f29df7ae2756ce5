/** A request's final on the wire. */
import { create } from '@bufbuild/protobuf';
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { SERVICE_TIERS } from '@meridian/domain/price';
import { type Meter, metersOf, type Usage } from '@meridian/domain/usage';
import { type Attempt, type Final, type LeaseAmount, OUTCOMES } from '@meridian/domain/usage-record';
import type * as wire from '../gen/meridian/v1/usage_pb.js';
import { FinalSchema } from '../gen/meridian/v1/usage_pb.js';
import { readMeter, readNonNegative, readSafeInteger, readText, readWord } from './field.ts';
import { wholeMs } from './final-writer.ts';
import { WireFormatError } from './wire-format-error.ts';

const EXACTNESS = ['exact', 'estimated'] as const;

/** Total over everything that a spool can hold: one record must never stand before all those behind it. */
export function finalToWire(final: Final): wire.Final {
  return create(FinalSchema, {
    requestId: final.requestId,
    admittedAtMs: BigInt(Math.trunc(final.admittedAtMs)),
    accountId: final.accountId,
    memberId: final.memberId,
    keyId: final.keyId,
    operation: final.operation,
    clientDialect: final.clientDialect,
    askedModel: final.askedModel,
    tierId: final.tierId,
    markupBasisPoints: final.markupBasisPoints,
    maxCostNano: final.maxCostNano,
    leases: final.leases.map((lease) => ({ ...lease })),
    outcome: final.outcome,
    exactness: final.exactness,
    ...(final.answeringModelId === undefined ? {} : { answeringModelId: final.answeringModelId }),
    askedPriceVersion: final.askedPriceVersion,
    answeringPriceVersion: final.answeringPriceVersion,
    serviceTier: final.serviceTier,
    usage: usageToWire(final.usage),
    chargeNano: final.chargeNano,
    varianceNano: final.varianceNano,
    attempts: final.attempts.map(({ errorCode, upstreamRequestId, ...attempt }) => ({
      ...attempt,
      durationMs: wholeMs(attempt.durationMs),
      ...(errorCode === undefined ? {} : { errorCode }),
      ...(upstreamRequestId === undefined ? {} : { upstreamRequestId }),
    })),
    stream: final.stream,
    status: final.status,
    ...(final.errorCode === undefined ? {} : { errorCode: final.errorCode }),
    firstByteMs: wholeMs(final.firstByteMs),
    durationMs: wholeMs(final.durationMs),
    emptyIsCharged: final.emptyIsCharged === true,
  });
}

/** Throws WireFormatError naming the field that no node of ours would send. */
export function finalFromWire(message: wire.Final): Final {
  return {
    requestId: readText('request_id', message.requestId),
    admittedAtMs: readSafeInteger('admitted_at_ms', message.admittedAtMs),
    accountId: readText('account_id', message.accountId),
    memberId: readText('member_id', message.memberId),
    keyId: readText('key_id', message.keyId),
    operation: readWord('operation', message.operation, OPERATIONS),
    clientDialect: readWord('client_dialect', message.clientDialect, DIALECT_NAMES),
    askedModel: message.askedModel,
    tierId: message.tierId,
    markupBasisPoints: message.markupBasisPoints,
    maxCostNano: readNonNegative('max_cost_nano', message.maxCostNano),
    leases: message.leases.map(leaseFromWire),
    outcome: readWord('outcome', message.outcome, OUTCOMES),
    ...(message.emptyIsCharged ? { emptyIsCharged: true } : {}),
    exactness: readWord('exactness', message.exactness, EXACTNESS),
    answeringModelId: message.answeringModelId,
    askedPriceVersion: message.askedPriceVersion,
    answeringPriceVersion: message.answeringPriceVersion,
    serviceTier: readWord('service_tier', message.serviceTier, SERVICE_TIERS),
    usage: usageFromWire(message.usage),
    chargeNano: readNonNegative('charge_nano', message.chargeNano),
    varianceNano: readNonNegative('variance_nano', message.varianceNano),
    attempts: message.attempts.map(attemptFromWire),
    stream: message.stream,
    status: message.status,
    errorCode: errorCodeFromWire('error_code', message.errorCode),
    firstByteMs: message.firstByteMs,
    durationMs: message.durationMs,
  };
}

function usageToWire(usage: Usage): { component: Meter; units: bigint }[] {
  return metersOf(usage).map((component) => ({ component, units: BigInt(usage[component] ?? 0) }));
}

function usageFromWire(units: readonly wire.Units[]): Usage {
  const usage: Partial<Record<Meter, number>> = {};
  for (const [index, entry] of units.entries()) {
    const component = readMeter(`usage[${index}].component`, entry.component);
    if (usage[component] !== undefined) throw new WireFormatError(`usage[${index}].component`, `is there twice: ${component}`);
    usage[component] = readSafeInteger(`usage[${index}].units`, entry.units);
  }
  return usage;
}

function leaseFromWire(lease: wire.LeaseAmount, index: number): LeaseAmount {
  return {
    leaseId: readText(`leases[${index}].lease_id`, lease.leaseId),
    amount: readNonNegative(`leases[${index}].amount`, lease.amount),
  };
}

function attemptFromWire(attempt: wire.Attempt, index: number): Attempt {
  const field = `attempts[${index}]`;
  return {
    endpointId: attempt.endpointId,
    providerId: attempt.providerId,
    modelId: attempt.modelId,
    status: attempt.status,
    errorCode: errorCodeFromWire(`${field}.error_code`, attempt.errorCode),
    costNano: readNonNegative(`${field}.cost_nano`, attempt.costNano),
    costVersion: attempt.costVersion,
    durationMs: attempt.durationMs,
    upstreamRequestId: attempt.upstreamRequestId,
  };
}

function errorCodeFromWire(field: string, code: string | undefined): ErrorCode | undefined {
  if (code === undefined) return undefined;
  if (!isErrorCode(code)) throw new WireFormatError(field, `is no error code: ${JSON.stringify(code.slice(0, 64))}`);
  return code;
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}
