/**
 * One node's configuration stream, after its Welcome.
 *
 * Each lane is FETCHING (a snapshot was offered and the node has not acknowledged its head of this lane) or FOLLOWING
 * (deltas flow). What waits for a node is not stored here: a lane keeps what was sent and what of it is not acknowledged,
 * and the next delta is taken from the shared windows when the rules allow it: one unacknowledged in a lane, 64 in
 * SECURITY. So what waits is coalesced by entity whenever it goes, and a slow node costs a few numbers. Only an
 * acknowledgement moves a cursor. A node that no longer can or does not keep up is told to resync, and the stream ends.
 */
import { LANES, type Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import type { DeltaFrame } from '../snapshots/delta.ts';
import type { LogWindow } from '../snapshots/log-window.ts';

const UNACKED_TIMEOUT_MS = 30_000;
/** From the offer of a snapshot until it is applied. */
const SNAPSHOT_TIMEOUT_MS = 120_000;
const MAX_UNACKED_SECURITY = 64;
const MAX_UNACKED = 1;

/** Where frames go: a grpc-js call. */
export interface Outlet {
  /** False: written, but nothing more until `resume` is called. */
  write(frame: Buffer): boolean;
}

export interface SyncStreamDeps {
  readonly outlet: Outlet;
  window(lane: Lane): LogWindow;
  delta(lane: Lane, prevRev: number): DeltaFrame | 'behind' | 'current';
  readonly clock: { nowMs(): number };
  /** A delta went out. */
  onSent(lane: Lane, frameBytes: number): void;
  /** The cursor of a lane has moved. */
  onApplied(lane: Lane, rev: number): void;
  /** The node has applied the snapshot that it was offered. */
  onSnapshotApplied(): void;
  /** The position cannot be gone on from. Called once; nothing is written any more. */
  onResync(reason: string): void;
}

interface LaneState {
  /** What the node has acknowledged. */
  cursor: number;
  /** Where the last delta that was sent ends. */
  sent: number;
  /** Ends of the deltas that are not acknowledged, oldest first. */
  unacked: { readonly rev: number; readonly sentAtMs: number }[];
  /** Head and time of the offered snapshot until it is acknowledged. */
  snapshot: { readonly head: number; readonly offeredAtMs: number } | undefined;
}

export class SyncStream {
  readonly #deps: SyncStreamDeps;
  readonly #lanes = new Map<Lane, LaneState>();
  #blocked = false;
  #ended = false;

  constructor(deps: SyncStreamDeps) {
    this.#deps = deps;
  }

  /** Deltas follow from these revs, in the lanes that have one: a node that does not follow a lane is sent nothing of it. */
  follow(cursors: LaneRevisions): void {
    for (const lane of LANES) {
      const cursor = cursors[lane];
      if (cursor !== undefined) this.#lanes.set(lane, { cursor, sent: cursor, unacked: [], snapshot: undefined });
    }
    this.pump();
  }

  /** A snapshot was offered: each lane that has a head here follows once the node has acknowledged it. */
  fetch(heads: LaneRevisions): void {
    const offeredAtMs = this.#deps.clock.nowMs();
    for (const lane of LANES) {
      const head = heads[lane];
      if (head !== undefined) this.#lanes.set(lane, { cursor: 0, sent: 0, unacked: [], snapshot: { head, offeredAtMs } });
    }
  }

  /** Sends what the rules allow. */
  pump(): void {
    for (const lane of LANES) this.#pumpLane(lane);
  }

  /** Writes a frame outside the rules: a heartbeat. False when there is no room, and it is left out. */
  writeNow(frame: Buffer): boolean {
    if (this.#ended || this.#blocked) return false;
    this.#write(frame);
    return true;
  }

  /** There is room again. */
  resume(): void {
    this.#blocked = false;
    this.pump();
  }

  /** Returns an explanation when the node acknowledges what it cannot have. */
  acknowledge(lane: Lane, rev: number): string | undefined {
    const state = this.#lanes.get(lane);
    if (state === undefined) return `an acknowledgement of ${lane} before anything was sent`;
    if (state.snapshot !== undefined) return this.#acknowledgeSnapshot(lane, state, rev);
    if (rev > state.sent) return `${lane} ${rev} was acknowledged and only ${state.sent} was sent`;
    if (rev <= state.cursor) return undefined;
    state.unacked = state.unacked.filter((delta) => delta.rev > rev);
    state.cursor = rev;
    this.#deps.onApplied(lane, rev);
    this.#pumpLane(lane);
    return undefined;
  }

  /** Once a second: a node that keeps silent, or falls out of the window, has to resync. */
  check(): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const [lane, state] of this.#lanes) {
      const overdue = this.#overdue(lane, state, nowMs);
      if (overdue !== undefined) {
        this.resync(overdue);
        return;
      }
    }
  }

  resync(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#deps.onResync(reason);
  }

  /** Nothing is sent any more. */
  end(): void {
    this.#ended = true;
  }

  #overdue(lane: Lane, { cursor, unacked, snapshot }: LaneState, nowMs: number): string | undefined {
    if (snapshot !== undefined) {
      return nowMs - snapshot.offeredAtMs >= SNAPSHOT_TIMEOUT_MS ? 'the snapshot was not applied in time' : undefined;
    }
    if (nowMs - (unacked[0]?.sentAtMs ?? nowMs) >= UNACKED_TIMEOUT_MS) return `${lane} was not acknowledged in time`;
    return this.#deps.window(lane).lagBytes(cursor) === undefined ? `${lane} lags too far behind` : undefined;
  }

  #acknowledgeSnapshot(lane: Lane, state: LaneState, rev: number): string | undefined {
    const head = state.snapshot?.head;
    if (rev !== head) return `${lane} ${rev} was acknowledged and the snapshot ends at ${head}`;
    state.snapshot = undefined;
    state.cursor = rev;
    state.sent = rev;
    this.#deps.onApplied(lane, rev);
    if ([...this.#lanes.values()].every((each) => each.snapshot === undefined)) this.#deps.onSnapshotApplied();
    this.#pumpLane(lane);
    return undefined;
  }

  #pumpLane(lane: Lane): void {
    const state = this.#lanes.get(lane);
    if (state === undefined || state.snapshot !== undefined) return;
    const maxUnacked = lane === 'security' ? MAX_UNACKED_SECURITY : MAX_UNACKED;
    while (!this.#ended && !this.#blocked && state.unacked.length < maxUnacked) {
      const delta = this.#deps.delta(lane, state.sent);
      if (delta === 'current') return;
      if (delta === 'behind') {
        this.resync(`${lane} lags too far behind`);
        return;
      }
      state.sent = delta.rev;
      state.unacked.push({ rev: delta.rev, sentAtMs: this.#deps.clock.nowMs() });
      this.#deps.onSent(lane, delta.frame.length);
      this.#write(delta.frame);
    }
  }

  #write(frame: Buffer): void {
    if (!this.#deps.outlet.write(frame)) this.#blocked = true;
  }
}
