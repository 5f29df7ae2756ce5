/** Records and folders for the tests of the spool, and of what reads it. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import type { IdSource } from '@meridian/domain/ids';
import type { LeaseRecord } from '@meridian/domain/lease';
import { SERVICE_TIERS } from '@meridian/domain/price';
import { COMPONENTS } from '@meridian/domain/usage';
import { type Final, type Intent, OUTCOMES } from '@meridian/domain/usage-record';
import fc from 'fast-check';
import { nodeDisk, type SpoolDisk } from './disk.ts';
import { openSpool, type Spool, type SpoolOptions } from './spool.ts';

const id = fc.string({ maxLength: 30 });
const VARIANTS = ['cached_input:audio', 'per_image:1024x1024:high', 'per_tool_call:web_search'] as const;
const text = fc.string({ maxLength: 60, unit: 'grapheme' });
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const timeMs = fc.nat({ max: 2 ** 43 });
// The catalogue's keys are the codes.
const errorCode = fc.option(fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[])), { nil: undefined });

const terms = {
  requestId: id,
  admittedAtMs: timeMs,
  accountId: id,
  memberId: id,
  keyId: id,
  operation: fc.constantFrom(...OPERATIONS),
  clientDialect: fc.constantFrom(...DIALECT_NAMES),
  askedModel: text,
  tierId: id,
  markupBasisPoints: uint32,
  maxCostNano: int64,
  leases: fc.array(fc.record({ leaseId: id, amount: int64 }), { maxLength: 4 }),
};

export const arbitraryIntent: fc.Arbitrary<Intent> = fc.record({
  ...terms,
  priceVersions: fc.array(fc.record({ modelId: id, version: uint32 }), { maxLength: 4 }),
});

const arbitraryFreeEmpty = fc.record({
  ...terms,
  outcome: fc.constantFrom(...OUTCOMES),
  exactness: fc.constantFrom('exact' as const, 'estimated' as const),
  answeringModelId: fc.option(id, { nil: undefined }),
  askedPriceVersion: uint32,
  answeringPriceVersion: uint32,
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  usage: fc.record(Object.fromEntries([...COMPONENTS, ...VARIANTS].map((meter) => [meter, fc.maxSafeNat()])), { requiredKeys: [] }),
  chargeNano: int64,
  varianceNano: int64,
  attempts: fc.array(
    fc.record({
      endpointId: id,
      providerId: id,
      modelId: id,
      status: uint32,
      errorCode,
      costNano: int64,
      costVersion: uint32,
      durationMs: fc.nat(),
      upstreamRequestId: fc.option(text, { nil: undefined }),
    }),
    { maxLength: 4 },
  ),
  stream: fc.boolean(),
  status: uint32,
  errorCode,
  firstByteMs: fc.nat(),
  durationMs: fc.nat(),
});

export const arbitraryFinal: fc.Arbitrary<Final> = fc
  .tuple(arbitraryFreeEmpty, fc.boolean())
  .map(([final, emptyIsCharged]) => (emptyIsCharged ? { ...final, emptyIsCharged } : final));

export const arbitraryLease: fc.Arbitrary<LeaseRecord> = fc.record({
  leaseId: id,
  budget: fc.record({ capId: id, windowStartMs: timeMs }),
  granted: fc.maxSafeNat(),
  returned: fc.maxSafeNat(),
  used: fc.maxSafeNat(),
  closed: fc.boolean(),
});

/** A plain intent; `name` is its request id. */
export function intentOf(name: string, accountId = 'acc_1'): Intent {
  return {
    requestId: name,
    admittedAtMs: 1_790_000_000_000,
    accountId,
    memberId: 'mem_01KAJ3ZZZZZZZZZZZZZZZZZZZZ',
    keyId: 'key_01KAJ3ZZZZZZZZZZZZZZZZZZZZ',
    operation: 'chat',
    clientDialect: 'openai-chat',
    askedModel: 'gpt-5.4-mini',
    priceVersions: [{ modelId: 'openai/gpt-5.4-mini', version: 3 }],
    tierId: 'starter',
    markupBasisPoints: 4000,
    maxCostNano: 5_000_000n,
    leases: [],
  };
}

/** The final of `intentOf(name)`. */
export function finalOf(name: string, chargeNano = 1000n, accountId = 'acc_1'): Final {
  const { priceVersions: _, ...pinned } = intentOf(name, accountId);
  return {
    ...pinned,
    outcome: 'success',
    exactness: 'exact',
    answeringModelId: 'openai/gpt-5.4-mini',
    askedPriceVersion: 3,
    answeringPriceVersion: 3,
    serviceTier: 'standard',
    usage: { input: 1200, cached_input: 400, output: 350 },
    chargeNano,
    varianceNano: 0n,
    attempts: [
      {
        endpointId: 'end_01KAJ3ZZZZZZZZZZZZZZZZZZZZ',
        providerId: 'openai',
        modelId: 'openai/gpt-5.4-mini',
        status: 200,
        errorCode: undefined,
        costNano: 700n,
        costVersion: 2,
        durationMs: 812,
        upstreamRequestId: 'req_7f3c2a',
      },
    ],
    stream: true,
    status: 200,
    errorCode: undefined,
    firstByteMs: 210,
    durationMs: 830,
  };
}

/** A clock that stands still until it is set, and real randomness. */
export interface HeldIds extends IdSource {
  timeMs: number;
}

export function heldIds(startMs = 1_790_000_000_000): HeldIds {
  const held: HeldIds = { timeMs: startMs, nowMs: () => held.timeMs, randomBytes: (count) => randomBytes(count) };
  return held;
}

/** The real disk, with room on it whatever else lies there. */
export const roomyDisk: SpoolDisk = { ...nodeDisk, statfs: () => Promise.resolve({ usedShare: 0.5 }) };

export function newFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'meridian-spool-'));
}

export interface TestSpool {
  readonly spool: Spool;
  readonly ids: HeldIds;
  /** Messages of the alarms so far. */
  readonly alarms: string[];
}

/** Opens a spool in the folder; an incarnation is the number of its boot. */
export async function openTestSpool(
  folder: string,
  incarnation: bigint,
  options: Partial<SpoolOptions> = {},
  ids = heldIds(),
): Promise<TestSpool> {
  const alarms: string[] = [];
  const spool = await openSpool({ folder, incarnation, ids, disk: roomyDisk, alarm: (message) => alarms.push(message), ...options });
  return { spool, ids, alarms };
}

/** Resolves when the record is written; rejects with what kept it from being written. */
export function writeIntent(spool: Spool, intent: Intent): Promise<void> {
  return new Promise((resolve, reject) => spool.intent(intent, (error) => (error === undefined ? resolve() : reject(error))));
}

export function writeFinal(spool: Spool, final: Final): Promise<void> {
  return new Promise((resolve, reject) => spool.final(final, (error) => (error === undefined ? resolve() : reject(error))));
}

/** The id of the lease with this number. */
export function leaseIdOf(number: number): string {
  return number.toString(16).padStart(32, '0');
}

/** An open lease on the prepaid credit of the account `acc_1`. */
export function leaseOf(number: number, granted: number, returned = 0): LeaseRecord {
  const budget = { capId: 'prepaid_acc_1', windowStartMs: 0 };
  return { leaseId: leaseIdOf(number), budget, granted, returned, used: 0, closed: false };
}

/** `finalOf(name, amount)`, charged to the lease of this number. */
export function leasedFinalOf(name: string, number: number, amount: bigint): Final {
  return { ...finalOf(name, amount), leases: [{ leaseId: leaseIdOf(number), amount }] };
}

/** Resolves with the record's seq. */
export function writeLease(spool: Spool, lease: LeaseRecord): Promise<number> {
  return new Promise((resolve, reject) => spool.lease(lease, (error, seq) => (error === undefined ? resolve(seq) : reject(error))));
}

/** Resolves when everything that is written is durable. */
export function durable(spool: Spool): Promise<void> {
  return new Promise((resolve) => {
    if (spool.durableSeq === spool.lastSeq) return resolve();
    const stop = spool.onDurable((seq) => {
      if (seq < spool.lastSeq) return;
      stop();
      resolve();
    });
  });
}

/** All finals that the spool retains, by request id and in order; each with what its outcome and charge are. */
export async function retainedFinals(spool: Spool): Promise<Final[]> {
  const finals: Final[] = [];
  for (const range of spool.incarnations()) {
    for (let seq = range.firstSeq; seq <= range.lastSeq; ) {
      const batch = await spool.readFrom(range.incarnation, seq, { maxRecords: 100, maxBytes: 64 * 1024 });
      if (batch === undefined || batch.firstSeq !== seq) throw new Error(`no batch from ${seq}`);
      finals.push(...batch.finals.map((entry) => entry.final));
      seq = batch.lastSeq + 1;
    }
  }
  return finals;
}
