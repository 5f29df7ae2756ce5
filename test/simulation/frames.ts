/**
 * What goes over the wires, as both planes have it once the codecs have read it. Deltas and snapshots go encoded, since the
 * node's intake takes them as they came; the codecs of the rest have tests of their own.
 */
import type { Grant } from '@meridian/control-plane/budgets/questions';
import type { LeaseDenial as Denial } from '@meridian/data-plane/admission/lease-desk';
import type { SpoolBatch } from '@meridian/data-plane/metering/spool/reader';
import type { RetainedRange } from '@meridian/data-plane/metering/spool/spool';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';

export interface SpoolName {
  readonly nodeId: string;
  readonly region: string;
  readonly spoolId: string;
}

export type SyncUp =
  | (SpoolName & { readonly kind: 'hello'; readonly dbEpoch: string; readonly cursors: LaneRevisions })
  | { readonly kind: 'sync_ack'; readonly lane: Lane; readonly rev: number }
  | { readonly kind: 'fetch'; readonly snapshotId: string };

export type SyncDown =
  | { readonly kind: 'welcome'; readonly dbEpoch: string }
  /** An encoded SyncResponse. */
  | { readonly kind: 'delta'; readonly frame: Buffer }
  | { readonly kind: 'heartbeat'; readonly heads: LaneRevisions }
  | { readonly kind: 'snapshot_ref'; readonly snapshot: SnapshotContent }
  | { readonly kind: 'resync_required'; readonly reason: string }
  | { readonly kind: 'goaway'; readonly retryAfterMs: number; readonly reason: string }
  | { readonly kind: 'snapshot'; readonly content: SnapshotContent };

export interface SnapshotContent {
  readonly id: string;
  readonly dbEpoch: string;
  readonly heads: Readonly<Record<Lane, number>>;
  /** Encoded entries. */
  readonly payloads: readonly Buffer[];
}

export type ReportUp =
  | (SpoolName & {
      readonly kind: 'report_open';
      readonly dbEpoch: string;
      readonly replaces: string | undefined;
      readonly retained: readonly (RetainedRange & { readonly ackedSeq: number })[];
    })
  | { readonly kind: 'batch'; readonly batch: SpoolBatch };

export type ReportDown =
  | { readonly kind: 'report_opened'; readonly dbEpoch: string; readonly acked: ReadonlyMap<bigint, number> }
  | { readonly kind: 'usage_ack'; readonly incarnation: bigint; readonly ackedSeq: number };

export type LeasesUp =
  | (SpoolName & { readonly kind: 'leases_open'; readonly dbEpoch: string })
  | { readonly kind: 'declaration'; readonly leases: readonly LeaseRecord[] }
  | {
      readonly kind: 'question';
      readonly questionId: number;
      readonly budget: BudgetRef;
      readonly need: number;
      readonly want: number;
      readonly ratePer30s: number;
    }
  | { readonly kind: 'recall_answer'; readonly recallId: bigint; readonly leaseId: string };

export type LeasesDown =
  | { readonly kind: 'leases_opened'; readonly dbEpoch: string; readonly frozen: boolean }
  | { readonly kind: 'grants'; readonly questionId: number; readonly grants: readonly Grant[] }
  | { readonly kind: 'denial'; readonly denial: Denial }
  | { readonly kind: 'recall'; readonly recallId: bigint; readonly leaseId: string; readonly retire: boolean }
  | { readonly kind: 'lease_closed'; readonly leaseId: string };

/** A frame in a line of the record. */
export function frameText(frame: unknown): string {
  // Only these go over the wires.
  const known = frame as SyncUp | SyncDown | ReportUp | ReportDown | LeasesUp | LeasesDown;
  switch (known.kind) {
    case 'batch':
      return `batch ${known.batch.firstSeq}..${known.batch.lastSeq}`;
    case 'usage_ack':
      return `ack ${known.ackedSeq}`;
    case 'question':
      return `question ${known.questionId} ${budgetId(known.budget)} need ${known.need} want ${known.want}`;
    case 'grants':
      return `grants for ${known.questionId}: ${known.grants.map((each) => `${each.leaseId.slice(0, 6)} ${each.granted}`).join(', ')}`;
    case 'denial':
      return `denial of ${known.denial.questionId} ${budgetId(known.denial.budget)}: ${known.denial.reason}, left ${known.denial.left}`;
    case 'recall':
      return `recall ${known.recallId} of ${known.leaseId.slice(0, 6)}${known.retire ? ' for good' : ''}`;
    case 'recall_answer':
      return `recall ${known.recallId} of ${known.leaseId.slice(0, 6)} answered`;
    case 'lease_closed':
      return `closed ${known.leaseId.slice(0, 6)}`;
    default:
      return known.kind;
  }
}
