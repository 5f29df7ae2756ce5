/** Leases and budgets on the wire. Amounts are int64 there, plain integers of at most 2^53 − 1 here. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { BudgetRef } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type * as wire from '../gen/meridian/v1/lease_pb.js';
import type { BudgetRefSchema, LeaseRecordSchema } from '../gen/meridian/v1/lease_pb.js';
import { readSafeInteger, readText } from './field.ts';
import { WireFormatError } from './wire-format-error.ts';

export function budgetRefToWire(budget: BudgetRef): MessageInitShape<typeof BudgetRefSchema> {
  return { capId: budget.capId, windowStartMs: BigInt(budget.windowStartMs) };
}

/** Throws WireFormatError naming the field at fault. */
export function budgetRefFromWire(budget: wire.BudgetRef | undefined): BudgetRef {
  if (budget === undefined) throw new WireFormatError('budget', 'is absent');
  return {
    capId: readCapId('budget.cap_id', budget.capId),
    windowStartMs: readSafeInteger('budget.window_start_ms', budget.windowStartMs),
  };
}

export function leaseRecordToWire(lease: LeaseRecord): MessageInitShape<typeof LeaseRecordSchema> {
  return {
    leaseId: lease.leaseId,
    budget: budgetRefToWire(lease.budget),
    granted: BigInt(lease.granted),
    returned: BigInt(lease.returned),
    used: BigInt(lease.used),
    closed: lease.closed,
  };
}

/** Throws WireFormatError naming the field at fault. */
export function leaseRecordFromWire(lease: wire.LeaseRecord): LeaseRecord {
  return {
    leaseId: readLeaseId('lease_id', lease.leaseId),
    budget: budgetRefFromWire(lease.budget),
    granted: readSafeInteger('granted', lease.granted),
    returned: readSafeInteger('returned', lease.returned),
    used: readSafeInteger('used', lease.used),
    closed: lease.closed,
  };
}

/** It is looked for in a database, whose texts have no zero character, together with what other nodes ask. */
function readCapId(field: string, id: string): string {
  if (id.includes('\0')) throw new WireFormatError(field, 'has a zero character');
  return readText(field, id);
}

/** 32 lower-case hexadecimal digits. */
export function readLeaseId(field: string, id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id)) throw new WireFormatError(field, `is not a lease id: ${JSON.stringify(id.slice(0, 64))}`);
  return id;
}
