/** Frames of Sync as inputs of the machine. */
import { laneFromWire, laneRevisionsFromWire } from '@meridian/wire/codec/lane';
import { WireFormatError } from '@meridian/wire/codec/wire-format-error';
import type { SyncResponse } from '@meridian/wire/gen/sync_pb';
import type { SyncInput } from './sync-machine.ts';

/** What a frame says; `unreadable_frame` where this build does not understand it. */
export function readFrame(response: SyncResponse): SyncInput {
  try {
    return read(response);
  } catch (error) {
    if (error instanceof WireFormatError) return { type: 'unreadable_frame', detail: error.message };
    throw error;
  }
}

function read({ frame }: SyncResponse): SyncInput {
  switch (frame.case) {
    case 'welcome':
      return { type: 'welcome', dbEpoch: frame.value.dbEpoch };
    case 'delta': {
      const { lane, prevRev, rev } = frame.value;
      return { type: 'delta', lane: laneFromWire(lane), prevRev: Number(prevRev), rev: Number(rev) };
    }
    case 'heartbeat':
      return { type: 'heartbeat', heads: laneRevisionsFromWire(frame.value.heads), regionNodes: frame.value.regionNodes };
    case 'snapshotRef': {
      const { snapshotId, dbEpoch, heads, sha256 } = frame.value;
      return {
        type: 'snapshot_ref',
        snapshot: { snapshotId, dbEpoch, heads: laneRevisionsFromWire(heads), sha256: Uint8Array.from(sha256) },
      };
    }
    case 'resyncRequired':
      return { type: 'resync_required', reason: frame.value.reason };
    case 'goaway':
      return { type: 'goaway', retryAfterMs: frame.value.retryAfterMs, reason: frame.value.reason };
    case undefined:
      return { type: 'unreadable_frame', detail: 'a frame of a newer protocol' };
    default:
      return frame satisfies never;
  }
}
