/** What the spool's records hold, in bytes. Names travel as text so that the order of a list in the code is no part of the format. */
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import type { LeaseRecord } from '@meridian/domain/lease';
import { SERVICE_TIERS } from '@meridian/domain/price';
import { type Exactness, isMeter, type Meter, metersOf, type Usage } from '@meridian/domain/usage';
import { type Attempt, type Final, type Intent, type LeaseAmount, OUTCOMES } from '@meridian/domain/usage-record';
import type { KeptLease } from './lease-counters.ts';
import { DamagedPayload, PayloadReader, type PayloadWriter } from './payload.ts';

/**
 * First byte of every payload. 1: there were no leases yet. 2: a FINAL's leases stand before the fields that the survey of a
 * folder skips, and a CHECKPOINT has leases. 3: a FINAL tells at its end whether an empty answer was to be charged.
 */
const PAYLOAD_VERSION = 3;
const LEAST_PAYLOAD_VERSION = 1;

/** Numbers on disk, never given to another type. */
export const RECORD_TYPE = { intent: 1, final: 2, lease: 3, checkpoint: 4, recovered: 5 } as const;

/** How far an incarnation's records are acknowledged by the control plane. */
export interface AckedCursor {
  readonly incarnation: bigint;
  readonly seq: number;
}

/** State of an incarnation behind the record whose seq the checkpoint carries. */
export interface Checkpoint {
  readonly acked: readonly AckedCursor[];
  /** Older incarnations whose open intents were closed. */
  readonly recovered: readonly bigint[];
  readonly openIntents: readonly Intent[];
  /** Undefined in the checkpoints of a build that knew no leases. */
  readonly leases: readonly KeptLease[] | undefined;
}

export type SpoolRecord =
  | { readonly type: 'intent'; readonly intent: Intent }
  | { readonly type: 'final'; readonly final: Final }
  | { readonly type: 'lease'; readonly lease: LeaseRecord }
  | { readonly type: 'checkpoint'; readonly checkpoint: Checkpoint }
  | { readonly type: 'recovered'; readonly incarnation: bigint };

export type DecodedPayload = { readonly ok: true; readonly record: SpoolRecord } | { readonly ok: false; readonly reason: string };

/** What the books of the spool need of a final, read without the rest. */
export interface FinalSummary {
  readonly requestId: string;
  readonly leases: readonly LeaseAmount[];
}

const OPERATION_NAMES = new Set(OPERATIONS);
const DIALECTS = new Set(DIALECT_NAMES);
const OUTCOME_NAMES = new Set(OUTCOMES);
const SERVICE_TIER_NAMES = new Set(SERVICE_TIERS);
const EXACTNESS_NAMES = new Set<Exactness>(['exact', 'estimated']);

/** Appends the payload; throws RangeError on a number or a text that the format has no room for. */
export function encodePayload(writer: PayloadWriter, record: SpoolRecord): void {
  writer.u8(PAYLOAD_VERSION);
  switch (record.type) {
    case 'intent':
      encodeIntent(writer, record.intent);
      return;
    case 'final':
      encodeFinal(writer, record.final);
      return;
    case 'lease':
      encodeLease(writer, record.lease);
      return;
    case 'checkpoint':
      encodeCheckpoint(writer, record.checkpoint);
      return;
    case 'recovered':
      writer.u64(record.incarnation);
      return;
  }
}

/** Reads a payload of the given type number. Never throws: what cannot be read comes back as the reason. */
export function decodePayload(type: number, payload: Buffer): DecodedPayload {
  try {
    const reader = new PayloadReader(payload);
    const version = reader.u8();
    if (!isKnownVersion(version)) return { ok: false, reason: `payload version ${version} is unknown` };
    const record = decodeRecord(type, version, reader);
    if (record === undefined) return { ok: false, reason: `record type ${type} is unknown` };
    reader.end();
    return { ok: true, record };
  } catch (error) {
    if (error instanceof DamagedPayload) return { ok: false, reason: error.message };
    throw error;
  }
}

/** The request of an INTENT's or FINAL's payload; undefined where it cannot be read. */
export function requestIdOf(payload: Buffer): string | undefined {
  try {
    const reader = new PayloadReader(payload);
    return isKnownVersion(reader.u8()) ? reader.text() : undefined;
  } catch (error) {
    if (error instanceof DamagedPayload) return undefined;
    throw error;
  }
}

/** The fields at the start of a FINAL's payload; undefined where they cannot be read. */
export function summariseFinal(payload: Buffer): FinalSummary | undefined {
  try {
    const reader = new PayloadReader(payload);
    const version = reader.u8();
    if (!isKnownVersion(version)) return undefined;
    const requestId = reader.text();
    if (version === 1) return { requestId, leases: [] };
    reader.skipText();
    reader.i64();
    return { requestId, leases: decodeLeases(reader) };
  } catch (error) {
    if (error instanceof DamagedPayload) return undefined;
    throw error;
  }
}

function isKnownVersion(version: number): boolean {
  return version >= LEAST_PAYLOAD_VERSION && version <= PAYLOAD_VERSION;
}

function decodeRecord(type: number, version: number, reader: PayloadReader): SpoolRecord | undefined {
  switch (type) {
    case RECORD_TYPE.intent:
      return { type: 'intent', intent: decodeIntent(reader) };
    case RECORD_TYPE.final:
      return { type: 'final', final: decodeFinal(version, reader) };
    case RECORD_TYPE.lease:
      return { type: 'lease', lease: decodeLease(reader) };
    case RECORD_TYPE.checkpoint:
      return { type: 'checkpoint', checkpoint: decodeCheckpoint(version, reader) };
    case RECORD_TYPE.recovered:
      return { type: 'recovered', incarnation: reader.u64() };
    default:
      return undefined;
  }
}

function encodeIntent(writer: PayloadWriter, intent: Intent): void {
  writer.text(intent.requestId);
  writer.text(intent.accountId);
  writer.f64(intent.admittedAtMs);
  writer.text(intent.memberId);
  writer.text(intent.keyId);
  writer.text(intent.operation);
  writer.text(intent.clientDialect);
  writer.text(intent.askedModel);
  writer.u16(intent.priceVersions.length);
  for (const { modelId, version } of intent.priceVersions) {
    writer.text(modelId);
    writer.u32(version);
  }
  writer.text(intent.tierId);
  writer.u32(intent.markupBasisPoints);
  writer.i64(intent.maxCostNano);
  encodeLeases(writer, intent.leases);
}

function decodeIntent(reader: PayloadReader): Intent {
  const requestId = reader.text();
  const accountId = reader.text();
  return {
    requestId,
    accountId,
    admittedAtMs: reader.f64(),
    memberId: reader.text(),
    keyId: reader.text(),
    operation: reader.oneOf(OPERATION_NAMES),
    clientDialect: reader.oneOf(DIALECTS),
    askedModel: reader.text(),
    priceVersions: reader.list(reader.u16(), () => ({ modelId: reader.text(), version: reader.u32() })),
    tierId: reader.text(),
    markupBasisPoints: reader.u32(),
    maxCostNano: reader.i64(),
    leases: decodeLeases(reader),
  };
}

function encodeFinal(writer: PayloadWriter, final: Final): void {
  // `summariseFinal` reads these four.
  writer.text(final.requestId);
  writer.text(final.accountId);
  writer.i64(final.chargeNano);
  encodeLeases(writer, final.leases);
  writer.f64(final.admittedAtMs);
  writer.text(final.memberId);
  writer.text(final.keyId);
  writer.text(final.operation);
  writer.text(final.clientDialect);
  writer.text(final.askedModel);
  writer.text(final.tierId);
  writer.u32(final.markupBasisPoints);
  writer.i64(final.maxCostNano);
  writer.text(final.outcome);
  writer.text(final.exactness);
  writer.optionalText(final.answeringModelId);
  writer.u32(final.askedPriceVersion);
  writer.u32(final.answeringPriceVersion);
  writer.text(final.serviceTier);
  encodeUsage(writer, final.usage);
  writer.i64(final.varianceNano);
  writer.u16(final.attempts.length);
  for (const attempt of final.attempts) encodeAttempt(writer, attempt);
  writer.u8(final.stream ? 1 : 0);
  writer.u32(final.status);
  writer.optionalText(final.errorCode);
  writer.f64(final.firstByteMs);
  writer.f64(final.durationMs);
  writer.u8(final.emptyIsCharged === true ? 1 : 0);
}

function decodeFinal(version: number, reader: PayloadReader): Final {
  const requestId = reader.text();
  const accountId = reader.text();
  const chargeNano = reader.i64();
  const leases = version === 1 ? undefined : decodeLeases(reader);
  const final: Final = {
    requestId,
    accountId,
    chargeNano,
    admittedAtMs: reader.f64(),
    memberId: reader.text(),
    keyId: reader.text(),
    operation: reader.oneOf(OPERATION_NAMES),
    clientDialect: reader.oneOf(DIALECTS),
    askedModel: reader.text(),
    tierId: reader.text(),
    markupBasisPoints: reader.u32(),
    maxCostNano: reader.i64(),
    leases: leases ?? decodeLeases(reader),
    outcome: reader.oneOf(OUTCOME_NAMES),
    exactness: reader.oneOf(EXACTNESS_NAMES),
    answeringModelId: reader.optionalText(),
    askedPriceVersion: reader.u32(),
    answeringPriceVersion: reader.u32(),
    serviceTier: reader.oneOf(SERVICE_TIER_NAMES),
    usage: decodeUsage(reader),
    varianceNano: reader.i64(),
    attempts: reader.list(reader.u16(), () => decodeAttempt(reader)),
    stream: reader.bool(),
    status: reader.u32(),
    errorCode: decodeErrorCode(reader),
    firstByteMs: reader.f64(),
    durationMs: reader.f64(),
  };
  return version >= 3 && reader.bool() ? { ...final, emptyIsCharged: true } : final;
}

function encodeAttempt(writer: PayloadWriter, attempt: Attempt): void {
  writer.text(attempt.endpointId);
  writer.text(attempt.providerId);
  writer.text(attempt.modelId);
  writer.u32(attempt.status);
  writer.optionalText(attempt.errorCode);
  writer.i64(attempt.costNano);
  writer.u32(attempt.costVersion);
  writer.f64(attempt.durationMs);
  writer.optionalText(attempt.upstreamRequestId);
}

function decodeAttempt(reader: PayloadReader): Attempt {
  return {
    endpointId: reader.text(),
    providerId: reader.text(),
    modelId: reader.text(),
    status: reader.u32(),
    errorCode: decodeErrorCode(reader),
    costNano: reader.i64(),
    costVersion: reader.u32(),
    durationMs: reader.f64(),
    upstreamRequestId: reader.optionalText(),
  };
}

function encodeLeases(writer: PayloadWriter, leases: readonly LeaseAmount[]): void {
  writer.u16(leases.length);
  for (const lease of leases) {
    writer.text(lease.leaseId);
    writer.i64(lease.amount);
  }
}

function decodeLeases(reader: PayloadReader): LeaseAmount[] {
  return reader.list(reader.u16(), () => ({ leaseId: reader.text(), amount: reader.i64() }));
}

function encodeLease(writer: PayloadWriter, lease: LeaseRecord): void {
  writer.text(lease.leaseId);
  writer.text(lease.budget.capId);
  writer.u53(lease.budget.windowStartMs);
  writer.u53(lease.granted);
  writer.u53(lease.returned);
  writer.u53(lease.used);
  writer.u8(lease.closed ? 1 : 0);
}

function decodeLease(reader: PayloadReader): LeaseRecord {
  return {
    leaseId: reader.text(),
    budget: { capId: reader.text(), windowStartMs: reader.u53() },
    granted: reader.u53(),
    returned: reader.u53(),
    used: reader.u53(),
    closed: reader.bool(),
  };
}

function encodeUsage(writer: PayloadWriter, usage: Usage): void {
  const countAt = writer.skip(4);
  let count = 0;
  for (const meter of metersOf(usage)) {
    writer.text(meter);
    writer.u53(usage[meter] ?? 0);
    count++;
  }
  writer.patchU32(countAt, count);
}

function decodeUsage(reader: PayloadReader): Usage {
  const usage: Partial<Record<Meter, number>> = {};
  const count = reader.u32();
  for (let index = 0; index < count; index++) usage[decodeMeter(reader)] = reader.u53();
  return usage;
}

function decodeMeter(reader: PayloadReader): Meter {
  const text = reader.text();
  if (!isMeter(text)) throw new DamagedPayload(`nothing that is counted: ${JSON.stringify(text.slice(0, 40))}`);
  return text;
}

function decodeErrorCode(reader: PayloadReader): ErrorCode | undefined {
  const code = reader.optionalText();
  if (code === undefined) return undefined;
  if (!isErrorCode(code)) throw new DamagedPayload(`an unknown error code: ${JSON.stringify(code.slice(0, 40))}`);
  return code;
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

function encodeCheckpoint(writer: PayloadWriter, checkpoint: Checkpoint): void {
  writer.u32(checkpoint.acked.length);
  for (const cursor of checkpoint.acked) {
    writer.u64(cursor.incarnation);
    writer.u53(cursor.seq);
  }
  writer.u32(checkpoint.recovered.length);
  for (const incarnation of checkpoint.recovered) writer.u64(incarnation);
  writer.u32(checkpoint.openIntents.length);
  for (const intent of checkpoint.openIntents) encodeIntent(writer, intent);
  const leases = checkpoint.leases ?? [];
  writer.u32(leases.length);
  for (const lease of leases) {
    encodeLease(writer, lease);
    if (lease.closed) writer.f64(lease.closedAtMs ?? 0);
  }
}

function decodeCheckpoint(version: number, reader: PayloadReader): Checkpoint {
  return {
    acked: reader.list(reader.u32(), () => ({ incarnation: reader.u64(), seq: reader.u53() })),
    recovered: reader.list(reader.u32(), () => reader.u64()),
    openIntents: reader.list(reader.u32(), () => decodeIntent(reader)),
    leases: version === 1 ? undefined : reader.list(reader.u32(), () => decodeKeptLease(reader)),
  };
}

function decodeKeptLease(reader: PayloadReader): KeptLease {
  const lease = decodeLease(reader);
  return { ...lease, closedAtMs: lease.closed ? reader.f64() : undefined };
}
