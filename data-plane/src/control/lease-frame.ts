/** What the control plane says on `Leases`, checked: all that the desk and the driver of the stream need of it. */
import { readSafeInteger, readText } from '@meridian/wire/codec/field';
import { budgetRefFromWire, readLeaseId } from '@meridian/wire/codec/lease';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import type * as wire from '@meridian/wire/gen/lease_pb';
import { DenialReason, type LeasesResponse } from '@meridian/wire/gen/lease_pb';
import type { LeaseDenial, LeaseGrant, LeaseRecall } from '../admission/lease-desk.ts';

export type LeaseInput =
  | { readonly type: 'opened'; readonly dbEpoch: string; readonly frozen: boolean }
  /** `questionId` is 0 when nobody asked. */
  | { readonly type: 'grants'; readonly questionId: number; readonly grants: readonly LeaseGrant[] }
  | { readonly type: 'denial'; readonly denial: LeaseDenial }
  | { readonly type: 'recall'; readonly recall: LeaseRecall }
  | { readonly type: 'closed'; readonly leaseId: string };

/** Undefined for a frame of a kind that this build does not know. Throws WireFormatError naming the field at fault. */
export function readLeaseFrame({ frame }: LeasesResponse): LeaseInput | undefined {
  switch (frame.case) {
    case 'opened':
      return { type: 'opened', dbEpoch: readText('db_epoch', frame.value.dbEpoch), frozen: frame.value.frozen };
    case 'grants':
      return {
        type: 'grants',
        questionId: readSafeInteger('question_id', frame.value.questionId),
        grants: frame.value.grants.map(readGrant),
      };
    case 'denial': {
      const { value } = frame;
      return {
        type: 'denial',
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
      return { type: 'recall', recall: { recallId, leaseId: readLeaseId('lease_id', leaseId), retire } };
    }
    case 'closed':
      return { type: 'closed', leaseId: readLeaseId('lease_id', frame.value.leaseId) };
    default:
      return undefined;
  }
}

function readGrant(grant: wire.LeaseGrant): LeaseGrant {
  return {
    leaseId: readLeaseId('lease_id', grant.leaseId),
    spoolId: readText('spool_id', grant.spoolId),
    budget: budgetRefFromWire(grant.budget),
    granted: readSafeInteger('granted', grant.granted),
  };
}

/** One that this build does not know says no more than that nothing was granted. */
function readReason(reason: DenialReason): LeaseDenial['reason'] {
  if (reason === DenialReason.UNSPECIFIED) throw new WireFormatError('reason', 'is absent');
  return reason === DenialReason.EXHAUSTED ? 'exhausted' : 'unreachable';
}
