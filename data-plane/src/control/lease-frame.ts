/** What the control plane says on `Leases`, checked: all that the desk and the driver of the stream need of it. */
import type { BudgetRef } from '@meridian/domain/budget';
import { readSafeInteger, readText } from '@meridian/wire/codec/field';
import { budgetRefFromWire, readLeaseId } from '@meridian/wire/codec/lease';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import { DenialReason, type LeaseGrant, type LeasesResponse } from '@meridian/wire/gen/lease_pb';

/** The total of what was ever granted on a lease. */
export interface GrantedTotal {
  readonly leaseId: string;
  readonly budget: BudgetRef;
  readonly granted: number;
}

export interface Denial {
  readonly questionId: number;
  readonly budget: BudgetRef;
  readonly reason: 'exhausted' | 'unreachable';
  /** What could be granted at most. */
  readonly left: number;
  readonly limit: number;
}

export type LeaseInput =
  | { readonly type: 'opened'; readonly dbEpoch: string; readonly frozen: boolean }
  /** `questionId` is 0 when nobody asked. `foreign` are ids of leases of other spools, which are not taken. */
  | { readonly type: 'granted'; readonly questionId: number; readonly grants: readonly GrantedTotal[]; readonly foreign: readonly string[] }
  | { readonly type: 'denied'; readonly denial: Denial }
  | { readonly type: 'recalled'; readonly recallId: bigint; readonly leaseId: string; readonly retire: boolean }
  | { readonly type: 'closed'; readonly leaseId: string };

/** Undefined for a frame of a kind that this build does not know. Throws WireFormatError naming the field at fault. */
export function readLeaseFrame({ frame }: LeasesResponse, spoolId: string): LeaseInput | undefined {
  switch (frame.case) {
    case 'opened':
      return { type: 'opened', dbEpoch: readText('db_epoch', frame.value.dbEpoch), frozen: frame.value.frozen };
    case 'grants': {
      const questionId = readSafeInteger('question_id', frame.value.questionId);
      const own = frame.value.grants.filter((grant) => grant.spoolId === spoolId);
      const foreign = frame.value.grants.filter((grant) => grant.spoolId !== spoolId).map((grant) => grant.leaseId);
      return { type: 'granted', questionId, grants: own.map(readGrant), foreign };
    }
    case 'denial': {
      const { value } = frame;
      return {
        type: 'denied',
        denial: {
          questionId: readSafeInteger('question_id', value.questionId),
          budget: budgetRefFromWire(value.budget),
          reason: readReason(value.reason),
          left: readSafeInteger('left', value.left),
          limit: readSafeInteger('limit', value.limit),
        },
      };
    }
    case 'recall': {
      const { recallId, leaseId, retire } = frame.value;
      return { type: 'recalled', recallId, leaseId: readLeaseId('lease_id', leaseId), retire };
    }
    case 'closed':
      return { type: 'closed', leaseId: readLeaseId('lease_id', frame.value.leaseId) };
    default:
      return undefined;
  }
}

function readGrant(grant: LeaseGrant): GrantedTotal {
  return {
    leaseId: readLeaseId('lease_id', grant.leaseId),
    budget: budgetRefFromWire(grant.budget),
    granted: readSafeInteger('granted', grant.granted),
  };
}

/** One that this build does not know says no more than that nothing was granted. */
function readReason(reason: DenialReason): Denial['reason'] {
  if (reason === DenialReason.UNSPECIFIED) throw new WireFormatError('reason', 'is absent');
  return reason === DenialReason.EXHAUSTED ? 'exhausted' : 'unreachable';
}
